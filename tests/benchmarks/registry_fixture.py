"""What the registry's benchmarks share: a server over each database, filled, and the seconds of its processor."""

import os
import platform
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import httpx

from tests.postgres_cluster import Cluster, cluster_directory, find_programs, init, server_user
from tests.postgres_cluster import start as start_cluster
from tests.registry_process import Server, new_token, serving
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

DATABASES = ("sqlite", "postgres")
NAMESPACE = "bench"
_PUSHED_WITHIN_S = 60


@dataclass(frozen=True)
class Place:
    """A running server, a token that may write, and where its data lie."""

    kind: str
    server: Server
    token: str
    database: str | None

    def client(self) -> httpx.Client:
        """A client with the token."""
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=120, trust_env=False)


def kill_in_a_push(place: Place, server: Server) -> None:
    """Kill a server that holds the modules of `make_modules` while somebody pushes to it, after one push was done."""
    acknowledged = threading.Event()

    def push() -> None:
        with suppress(httpx.TransportError), replace(place, server=server).client() as api:
            while True:
                files = module_files(fill=random.random())  # noqa: S311 (other bytes each time, no secret)
                api.post(f"/api/models/{NAMESPACE}/m0/commit/main", content=commit_body(files)).raise_for_status()
                acknowledged.set()

    pushing = threading.Thread(target=push)
    pushing.start()
    if not acknowledged.wait(_PUSHED_WITHIN_S):
        raise TimeoutError(f"no push was acknowledged in {_PUSHED_WITHIN_S} s")
    time.sleep(random.uniform(0, 0.1))  # noqa: S311 (a moment, no secret)
    server.kill()
    pushing.join()


@contextmanager
def registry(kind: str) -> Iterator[Place]:
    """An empty registry with its server; PostgreSQL keeps its promises here, with `fsync`."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-bench-"))) / "data"
        url = stack.enter_context(durable_cluster()).create("bench") if kind == "postgres" else None
        server = stack.enter_context(serving(data, database=url))
        yield Place(kind, server, new_token(data, database_url=url), url)


@contextmanager
def durable_cluster(kept: Path | None = None) -> Iterator[Cluster]:
    """A PostgreSQL server as it is used, with `fsync`; its files stay where `kept` says, and are used again there."""
    programs = find_programs()
    if programs is None:
        sys.exit("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with ExitStack() as stack:
        directory = stack.enter_context(cluster_directory()) if kept is None else _made_for_the_server(kept)
        if not (directory / "data").exists():
            init(programs, directory / "data")
        cluster = start_cluster(programs, directory)
        stack.callback(cluster.stop)
        yield cluster


def _made_for_the_server(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    if (user := server_user()) is not None:
        shutil.chown(directory, user)
    return directory.resolve()


def make_modules(place: Place, count: int) -> list[str]:
    """Repositories with a small module each; their names."""
    names = [f"{NAMESPACE}/m{number}" for number in range(count)]
    with place.client() as client:
        for number, name in enumerate(names):
            make_repository(client, name)
            body = commit_body(module_files(fill=float(number)))
            client.post(f"/api/models/{name}/commit/main", content=body).raise_for_status()
    return names


def make_repository(client: httpx.Client, repo_id: str) -> None:
    """An empty repository."""
    namespace, _, name = repo_id.partition("/")
    client.post("/api/repos/create", json={"name": name, "organization": namespace}).raise_for_status()


def processor_ms(pid: int) -> float:
    """Milliseconds that the threads of a process have run (Linux)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def children_ms(pid: int) -> float:
    """Milliseconds that the processes have run that a process has started; of those that ended in steps of 10 (Linux).

    So much of the processor PostgreSQL takes, each of whose connections is a process.
    """
    ended = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]))
    living = 0.0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends while it is looked at
            living += processor_ms(int(child))
    return living + ended * 1000 / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def about() -> str:
    """What the figures belong to: machine and versions, in a line."""
    names = ("fastapi", "uvicorn", "sqlalchemy", "huggingface_hub", "httpx")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), load average {os.getloadavg()[0]:.1f} at the start; "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {_postgres()}, {versions}."
    )


def _postgres() -> str:
    programs = find_programs()
    return f"PostgreSQL {programs.parent.name}" if programs else "no PostgreSQL"
