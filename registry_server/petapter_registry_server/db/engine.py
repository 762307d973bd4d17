"""The database behind the services: two kinds of transaction, the same on SQLite and on PostgreSQL."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from petapter_registry_server.db import audit, schema
from petapter_registry_server.db.answers import Answers, State, check_may_wait
from petapter_registry_server.db.failures import one_line, translated
from petapter_registry_server.db.sqlite import SQLite
from petapter_registry_server.errors import DatabaseUnavailableError, DataDirectoryError
from petapter_registry_server.writes import Writes

_TURN_S = 30

Purpose = Literal["read", "write", "migration"]


class Backend(Protocol):
    """What one kind of database does in its own way."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""

    def open(self) -> Engine:
        """An engine; what its transactions are for is said by `options`."""

    def options(self, purpose: Purpose) -> Mapping[str, str | bool]:
        """The execution options that make a transaction a read, a write or a migration."""

    def check(self, connection: Connection) -> None:
        """Refuse a database that cannot hold a registry. Raises: DataDirectoryError."""

    def state(self) -> State | None:
        """A value that every commit of anybody changes; None where it cannot be told now."""

    async def state_soon(self) -> State | None:
        """As `state`, for an event loop, which goes on meanwhile."""

    def close(self) -> None:
        """Close what `state` keeps open."""


class Database:
    """A SQLite file or a PostgreSQL database. Readers see a snapshot; writers, of all processes, take turns."""

    def __init__(self, location: Path | Backend, writes: Writes | None = None) -> None:
        """Open it. A sync that fails in a commit stops `writes`, and once they are stopped nothing is committed."""
        self.writes = writes or Writes()
        self._backend: Backend = SQLite(location) if isinstance(location, Path) else location
        self._engine = self._backend.open()
        self._read_sessions = sessionmaker(self._for("read"), expire_on_commit=False)
        self._write_sessions = sessionmaker(self._for("write"), expire_on_commit=False)
        audit.chain_at_commit(self._write_sessions)
        self._turn = threading.Lock()
        self.answers = Answers()

    @property
    def name(self) -> str:
        """How messages call it; never an address with a password."""
        return self._backend.name

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        return self._backend.file

    @property
    def engine(self) -> Engine:
        """The engine, for what asks about connections and versions rather than rows."""
        return self._engine

    def state(self) -> State | None:
        """What a read that begins now would see, as a value for `answers`; None where that cannot be told.

        Raises:
            NotKeptError: Within `kept_alone`.
        """
        check_may_wait()
        return self._backend.state()

    async def state_soon(self) -> State | None:
        """As `state`, for an event loop: whatever was committed before the call is in it."""
        return await self._backend.state_soon()

    def standing(self) -> schema.Standing:
        """Whether the tables are those of this version.

        Raises:
            DatabaseUnavailableError: The database does not answer.
        """
        with translated(), self._engine.connect() as connection:
            return schema.standing(connection)

    def check(self) -> None:
        """Refuse a database that cannot hold a registry, or whose tables are of another version.

        Raises:
            DataDirectoryError: It cannot be used as it is.
        """
        if self.examine() == "behind":
            raise DataDirectoryError(f"{self.name} has tables of an older version: run 'petapter-registry migrate'")

    def migrate(self) -> None:
        """Check the database and bring its tables to this version; of several processes at once, one does it.

        Raises:
            DataDirectoryError: It cannot be reached, is damaged, or was written by a newer version.
        """
        if self.examine() == "behind":
            try:
                with self._turn, self._for("migration").begin() as connection:
                    schema.upgrade(connection)
            except DBAPIError as error:
                raise DataDirectoryError(f"{self.name} cannot be used: {one_line(error.orig)}") from error

    def examine(self) -> schema.Standing:
        """Look whether a registry can be in this database, and whether its tables are those of this version or older.

        Raises:
            DataDirectoryError: It cannot be reached, is damaged or unfit, or was written by a newer version.
        """
        try:
            with self._engine.connect() as connection:
                self._backend.check(connection)
                found = schema.standing(connection)
        except DBAPIError as error:
            raise DataDirectoryError(f"{self.name} cannot be used: {one_line(error.orig)}") from error
        if found == "newer":
            raise DataDirectoryError(f"{self.name} was written by a newer petapter-registry: upgrade it")
        return found

    def _for(self, purpose: Purpose) -> Engine:
        return self._engine.execution_options(**self._backend.options(purpose))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing.

        Raises:
            DatabaseUnavailableError: The database does not answer.
            NotKeptError: Within `kept_alone`.
        """
        check_may_wait()
        with translated(), self._read_sessions() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock from its first statement and commits at the end, or not at all.

        When the connection is lost during the commit itself, it may have happened: a client that tries again must find
        its own deed and be content.

        Raises:
            DatabaseUnavailableError: The database does not answer, or other writers kept it for too long.
            StorageFullError: Its disk is full.
            WritesStoppedError: A sync has failed, here or in the blob store, since the process began.
            NotKeptError: Within `kept_alone`.
        """
        check_may_wait()
        self.writes.check()
        if not self._turn.acquire(timeout=_TURN_S):
            raise DatabaseUnavailableError
        try:
            with translated(self.writes.stop), self._write_sessions.begin() as session:
                yield session
                self.writes.check()
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close all connections; the last one to a SQLite file folds the write-ahead log into it."""
        self._backend.close()
        self._engine.dispose()
