"""The SQLite database: how connections are configured, and the two kinds of transaction."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from petapter_registry_server.db import audit
from petapter_registry_server.errors import DataDirectoryError

_MIGRATIONS = Path(__file__).parent / "migrations"
_CONNECTIONS = 20
_MORE_CONNECTIONS = 40  # together more than the threads that Starlette runs requests in (40)


class Database:
    """A SQLite file in WAL mode; readers see a snapshot, writers of this process take turns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = create_engine(
            URL.create("sqlite", database=str(path)), pool_size=_CONNECTIONS, max_overflow=_MORE_CONNECTIONS
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._write_engine = self._engine.execution_options(writes=True)
        self._read_sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._write_sessions = sessionmaker(self._write_engine, expire_on_commit=False)
        audit.chain_at_commit(self._write_sessions)
        self._turn = threading.Lock()

    def migrate(self) -> None:
        """Check the file and bring its tables to this version.

        Raises:
            DataDirectoryError: The file is damaged or was written by a newer version.
        """
        try:
            self._check_pages()
            with self._turn, self._write_engine.begin() as connection:
                command.upgrade(_alembic_config(connection), "head")
        except CommandError as error:
            raise DataDirectoryError(f"{self._path} was written by a newer petapter-registry: upgrade it") from error
        except DatabaseError as error:
            raise DataDirectoryError(f"{self._path} cannot be used: {error.orig}") from error

    def _check_pages(self) -> None:
        with self._engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if verdict != "ok":
            raise DataDirectoryError(f"{self._path} is damaged ({verdict}): restore it from a backup")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        with self._read_sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock from its first statement and commits at the end, or not at all."""
        with self._turn, self._write_sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        self._engine.dispose()


def _configure(connection: SQLiteConnection, _record: object) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin transactions on its own; `_begin` does
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A write takes SQLite's lock at once: a later upgrade from a read could not wait and would fail."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
