"""A private PostgreSQL cluster in a temporary directory, reached through a socket there; nothing else is touched."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

START_S = 60
TEMPLATE = "petapter_template"
_AS_ROOT = ("postgres", "nobody")  # PostgreSQL refuses to run as root
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


@dataclass(frozen=True)
class Cluster:
    """A running server. Its socket, its files and its log lie in `directory`."""

    directory: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str) -> str:
        """The address of a database, as the registry takes it."""
        return f"postgresql+psycopg://petapter@/{database}?host={self.directory}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(dbname=database, user="petapter", host=str(self.directory), autocommit=True)

    def create(self, database: str, template: str = "template0") -> str:
        """Make a database and return its address."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}")  # type: ignore[call-overload]
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")  # type: ignore[call-overload]

    def kill(self) -> None:
        """End the server and all its processes at once, as a power cut does to them."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End the server without waiting for its clients."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=START_S)


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, newest version first, or None where no server is installed."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)]
    if config := shutil.which("pg_config"):
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        found.insert(0, Path(asked.stdout.strip()))
    if initdb := shutil.which("initdb"):
        found.append(Path(initdb).resolve().parent)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@contextmanager
def running_cluster(programs: Path) -> Iterator[Cluster]:
    """A cluster for tests: as fast as can be, and not meant to survive the machine."""
    with cluster_directory() as directory:
        init(programs, directory / "data")
        cluster = start(programs, directory, _NOT_DURABLE)
        try:
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def cluster_directory() -> Iterator[Path]:
    """A new directory that the server's user owns, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="petapter-pg-"))  # short: the path of a socket has 107 characters
    try:
        if (user := server_user()) is not None:
            shutil.chown(directory, user)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def init(programs: Path, data: Path) -> None:
    """Make the files of a cluster whose databases sort text by its bytes."""
    subprocess.run(
        [programs / "initdb", "--pgdata", data, "--username", "petapter", "--auth", "trust", "--encoding", "UTF8",
         "--locale", "C", "--no-sync"],
        check=True, capture_output=True, user=server_user(), extra_groups=_groups(), cwd=data.parent,
    )  # fmt: skip


def start(programs: Path, directory: Path, settings: tuple[str, ...] = ()) -> Cluster:
    """Start the server over `directory/data` and wait until it takes connections."""
    options = [f"unix_socket_directories={directory}", "listen_addresses=", "max_connections=200", *settings]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [*_dies_with_its_parent(), programs / "postgres", "-D", directory / "data", *_given(options)],
            stdout=log, stderr=log, user=server_user(), extra_groups=_groups(), cwd=directory, process_group=0,
        )  # fmt: skip
    cluster = Cluster(directory, process)
    deadline = time.monotonic() + START_S
    while True:
        try:
            cluster.connect().close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                cluster.stop()
                raise RuntimeError(f"PostgreSQL did not start: {(directory / 'log').read_text()}") from error
            time.sleep(0.02)
        else:
            return cluster


def start_standby(programs: Path, primary: Cluster, directory: Path) -> Cluster:
    """A copy of the primary that follows it."""
    subprocess.run(
        [programs / "pg_basebackup", "--pgdata", directory / "data", "--host", primary.directory,
         "--username", "petapter", "--checkpoint", "fast", "--wal-method", "stream", "--write-recovery-conf"],
        check=True, capture_output=True, user=server_user(), extra_groups=_groups(), cwd=directory,
    )  # fmt: skip
    return start(programs, directory)


def server_user() -> str | None:
    """Whom the server runs as: root needs somebody else, everybody else is right."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _AS_ROOT if name in known)


def _given(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("-c", setting)]


def _dies_with_its_parent() -> list[str]:
    """A killed test run must not leave a server behind; without util-linux it would."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "QUIT"] if setpriv else []


def _groups() -> list[int] | None:
    return None if server_user() is None else []


def _version(folder: Path) -> float:
    return float(folder.parent.name) if folder.parent.name.replace(".", "", 1).isdecimal() else 0.0
