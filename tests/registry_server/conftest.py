"""A registry in process over real files, and callers with real tokens."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from petapter_registry_server.app import create_app
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.services.roles import TokenRole
from petapter_registry_server.settings import Settings
from tests.postgres_cluster import TEMPLATE, Cluster, find_programs, running_cluster

NewDatabase = Callable[[], AbstractContextManager[str | None]]


def commit_body(
    files: Mapping[str, bytes], *, deleted: Sequence[str] = (), parent: str | None = None, title: str = "Push"
) -> bytes:
    """The newline-delimited JSON that clients send."""
    header = {"summary": title, "description": "", **({"parentCommit": parent} if parent else {})}
    lines: list[dict[str, Any]] = [{"key": "header", "value": header}]
    for path, data in files.items():
        content = base64.b64encode(data).decode()
        lines.append({"key": "file", "value": {"content": content, "path": path, "encoding": "base64"}})
    lines += [{"key": "deletedFile", "value": {"path": path}} for path in deleted]
    return b"\n".join(json.dumps(line).encode() for line in lines) + b"\n"


@dataclass(frozen=True)
class Caller:
    """Somebody at the wire: a client that sends one token, or none."""

    client: TestClient
    token: str | None

    def call(self, method: str, path: str, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def create(self, repo_id: str, *, private: bool = False) -> Any:
        namespace, _, name = repo_id.partition("/")
        visibility = "private" if private else "public"
        return self.call(
            "POST", "/api/repos/create", json={"name": name, "organization": namespace, "visibility": visibility}
        )

    def delete(self, repo_id: str) -> Any:
        namespace, _, name = repo_id.partition("/")
        return self.call("DELETE", "/api/repos/delete", json={"name": name, "organization": namespace})

    def commit(self, repo_id: str, files: Mapping[str, bytes], *, branch: str = "main", **options: Any) -> Any:
        return self.call("POST", f"/api/models/{repo_id}/commit/{branch}", content=commit_body(files, **options))

    def published(self, repo_id: str, files: Mapping[str, bytes], **options: Any) -> str:
        """Commit and return the id."""
        answer = self.commit(repo_id, files, **options)
        assert answer.status_code == 200, answer.text
        oid: str = answer.json()["commitOid"]
        return oid

    def head(self, repo_id: str) -> str:
        oid: str = self.get(f"/api/models/{repo_id}").json()["sha"]
        return oid

    def paths(self, repo_id: str, revision: str = "main") -> list[str]:
        return [entry["path"] for entry in self.get(f"/api/models/{repo_id}/tree/{revision}?recursive=true").json()]


@dataclass(frozen=True)
class Registry:
    """A registry over one data directory."""

    settings: Settings
    app: FastAPI
    client: TestClient
    admin_token: str

    @property
    def data(self) -> Path:
        return self.settings.data

    @property
    def place(self) -> list[str]:
        """The options by which console commands find it."""
        url = self.settings.database
        return ["--data", str(self.data), *([] if url is None else ["--database", url.get_secret_value()])]

    def change(self, *statements: str) -> None:
        """Change rows behind the registry's back, on either kind of database."""
        with self.app.state.database.write() as session:
            for statement in statements:
                session.execute(text(statement))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the database answers to a question that both kinds of database understand."""
        with self.app.state.database.read() as session:
            return [tuple(row) for row in session.execute(text(statement))]

    def files_in_scratch(self) -> list[str]:
        """What requests have left in scratch; a lock belongs to the process."""
        return [file.name for file in (self.data / "scratch").rglob("*") if file.is_file() and file.name != "lock"]

    @property
    def admin(self) -> Caller:
        return Caller(self.client, self.admin_token)

    @property
    def anonymous(self) -> Caller:
        return Caller(self.client, None)

    def caller(self, user: str, role: TokenRole = "write") -> Caller:
        return Caller(self.client, self.app.state.services.accounts.issue_token(user, role).secret)


def open_registry(settings: Settings) -> Registry:
    app = create_app(settings)
    issued = app.state.services.accounts.create_first_admin()
    client = TestClient(app, base_url="http://registry.test", raise_server_exceptions=False)
    return Registry(settings, app, client, issued.secret if issued else "")


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@contextmanager
def running(settings: Settings) -> Iterator[Registry]:
    """A registry that takes requests."""
    opened = open_registry(settings)
    with opened.client:
        yield opened


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server with a database of empty tables to copy."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with running_cluster(programs) as started:
        template = Database(PostgreSQL(started.create(TEMPLATE), connections=2))
        template.migrate()
        template.close()
        yield started


_numbers = itertools.count()


@contextmanager
def fresh_database(cluster: Cluster) -> Iterator[str]:
    """The address of a migrated database that is gone at the end."""
    name = f"test_{next(_numbers)}"
    try:
        yield cluster.create(name, TEMPLATE)
    finally:
        cluster.drop(name)


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """For each kind of database, what makes a fresh one: the address, or None for SQLite in the data directory."""
    if request.param == "sqlite":
        return nullcontext
    cluster: Cluster = request.getfixturevalue("cluster")
    return lambda: fresh_database(cluster)


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str | None]:
    with new_database() as url:
        yield url


@pytest.fixture
def registry(tmp_path: Path, database_url: str | None) -> Iterator[Registry]:
    with running(Settings(data=tmp_path / "data", database=database_url)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_registry(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for the tests of a file that only read."""
    data = tmp_path_factory.mktemp("shared") / "data"
    with new_database() as url, running(Settings(data=data, database=url)) as opened:
        yield opened


@pytest.fixture
def small_registry(tmp_path: Path, database_url: str | None) -> Iterator[Registry]:
    """A registry that takes files of up to 1,000 bytes, commits of 10,000, and four files."""
    settings = Settings(
        data=tmp_path / "small",
        database=database_url,
        max_file_bytes=1000,
        max_commit_bytes=10_000,
        max_tree_files=4,
    )
    with running(settings) as opened:
        yield opened


@pytest.fixture
def team(registry: Registry) -> Caller:
    """A member of `team`, which holds the empty repository `team/tickets`."""
    return member_of_team(registry)


def member_of_team(registry: Registry) -> Caller:
    member = registry.caller("ada")
    assert member.create("team/tickets").status_code == 200
    return member
