"""A registry in process over real files, and callers with real tokens."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import obstore
import pytest
import structlog
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from petapter_registry_server.app import create_app
from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.services.roles import TokenRole
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.objects import ObjectBlobStore
from petapter_schemas.digests import sha256_bytes
from tests.postgres_cluster import TEMPLATE, Cluster, find_programs, running_cluster
from tests.registry_server.lent_databases import LentDatabases
from tests.registry_server.s3_server import S3Server, s3_server


@dataclass(frozen=True)
class Backing:
    """What a registry keeps its rows and its bytes in, as its settings name them; None is the data directory."""

    database: str | None = None
    blobs: str | None = None

    def settings(self, data: Path, **others: Any) -> Settings:
        """The settings of a registry over it."""
        return Settings(data=data, database=self.database, blobs=self.blobs, **others)


NewBacking = Callable[[], AbstractContextManager[Backing]]
NewBlobs = Callable[[], str | None]


def commit_body(
    files: Mapping[str, bytes], *, deleted: Sequence[str] = (), parent: str | None = None, title: str = "Push"
) -> bytes:
    """The newline-delimited JSON that clients send."""
    header = {"summary": title, "description": "", **({"parentCommit": parent} if parent else {})}
    parts = [json.dumps({"key": "header", "value": header}).encode()]
    for path, data in files.items():  # base64 needs no escapes: json would look for them in megabytes
        named = json.dumps(path).encode()
        parts += [b'\n{"key": "file", "value": {"content": "', base64.b64encode(data), b'", "path": ', named]
        parts.append(b', "encoding": "base64"}}')
    parts += [b"\n" + json.dumps({"key": "deletedFile", "value": {"path": path}}).encode() for path in deleted]
    return b"".join([*parts, b"\n"])


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


@cache
def _empty_tables() -> bytes:
    """A SQLite database with the tables of this version: making them takes longer than most tests."""
    with TemporaryDirectory() as folder:
        directory = DataDirectory(Path(folder))
        with closing(Database(directory.database)) as database:
            database.migrate()
        return directory.database.read_bytes()


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

    @property
    def place_with_bytes(self) -> list[str]:
        """As `place`, for commands that need the bytes too."""
        blobs = self.settings.blobs
        return [*self.place, *([] if blobs is None else ["--blobs", blobs])]

    @property
    def store(self) -> BlobShelf:
        """Its blob store."""
        store: BlobShelf = self.app.state.services.garbage._store
        return store

    def stored(self, data: bytes) -> bytes | None:
        """What the store holds under the digest of some bytes."""
        try:
            return b"".join(self.store.open(sha256_bytes(data)).chunks)
        except FileNotFoundError:
            return None

    def damage(self, data: bytes, instead: bytes) -> None:
        """Put other bytes in the place of stored ones, behind the registry's back."""
        name = f"blobs/{blob_name(sha256_bytes(data))}"
        if isinstance(self.store, ObjectBlobStore):
            obstore.put(self.store._objects, name, instead)
        else:
            (self.data / name).write_bytes(instead)

    def stored_digests(self) -> set[str]:
        """The names of all stored blobs."""
        return {blob.sha256 for blob in self.store.stored()}

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
    directory = DataDirectory(settings.data)
    if settings.database is None and not directory.database.exists():
        directory.create_for_sqlite()
        directory.database.write_bytes(_empty_tables())
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


@pytest.fixture(scope="session")
def lent_databases(cluster: Cluster) -> LentDatabases:
    """Databases that are emptied from one test to the next."""
    return LentDatabases(cluster)


_numbers = itertools.count()


@contextmanager
def fresh_database(cluster: Cluster) -> Iterator[str]:
    """The address of a migrated database that is gone at the end."""
    name = f"test_{next(_numbers)}"
    try:
        yield cluster.create(name, TEMPLATE)
    finally:
        cluster.drop(name)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server, which the registries of this process find by their environment from now on."""
    with s3_server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.env.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def new_blobs(request: pytest.FixtureRequest) -> NewBlobs:
    """What makes a fresh place for bytes in a bucket."""
    server: S3Server = request.getfixturevalue("s3")
    bucket = server.new_bucket()
    return lambda: f"s3://{bucket}/{next(_numbers)}"


_SCALE = pytest.param("postgres+s3", marks=[pytest.mark.postgres, pytest.mark.s3])


@pytest.fixture(scope="session", params=["sqlite+files", _SCALE])
def new_backing(request: pytest.FixtureRequest) -> NewBacking:
    """For each of the two ways to run a registry, what makes a fresh backing for one."""
    if request.param == "sqlite+files":
        return lambda: nullcontext(Backing())
    return over_postgres(request.getfixturevalue("lent_databases"), request.getfixturevalue("new_blobs"))


def over_postgres(databases: LentDatabases, new_blobs: NewBlobs) -> NewBacking:
    """What makes an empty database and a fresh place for bytes."""

    @contextmanager
    def fresh() -> Iterator[Backing]:
        with databases.borrow() as url:
            yield Backing(url, new_blobs())

    return fresh


@pytest.fixture
def backing(new_backing: NewBacking) -> Iterator[Backing]:
    with new_backing() as fresh:
        yield fresh


@pytest.fixture
def registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    with running(backing.settings(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_registry(new_backing: NewBacking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for the tests of a file that only read."""
    data = tmp_path_factory.mktemp("shared") / "data"
    with new_backing() as fresh, running(fresh.settings(data)) as opened:
        yield opened


@pytest.fixture
def small_registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    """A registry that takes files of up to 1,000 bytes, commits of 10,000, and four files."""
    limits = {"max_file_bytes": 1000, "max_commit_bytes": 10_000, "max_tree_files": 4}
    with running(backing.settings(tmp_path / "small", **limits)) as opened:
        yield opened


@pytest.fixture
def team(registry: Registry) -> Caller:
    """A member of `team`, which holds the empty repository `team/tickets`."""
    return member_of_team(registry)


def member_of_team(registry: Registry) -> Caller:
    member = registry.caller("ada")
    assert member.create("team/tickets").status_code == 200
    return member
