"""The SQLite file: how its connections are configured, and how it is checked before it is used."""

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection

from sqlalchemy import URL, Connection, Engine, create_engine, event

from petapter_registry_server.errors import DataDirectoryError

_CONNECTIONS = 20
_MORE_CONNECTIONS = 40  # together more than the threads that Starlette runs requests in (40)


class SQLite:
    """A file in WAL mode: readers see a snapshot, and one transaction at a time may write."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.file = path
        self._url = URL.create("sqlite", database=str(path))
        self._watching: SQLiteConnection | None = None
        self._watches = 0
        self._one_asks = threading.Lock()

    def open(self) -> Engine:
        """An engine; what its transactions are for is said by `options`."""
        engine = create_engine(self._url, pool_size=_CONNECTIONS, max_overflow=_MORE_CONNECTIONS)
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine

    def options(self, purpose: str) -> Mapping[str, str | bool]:
        """A write and a migration take the write lock when they begin."""
        return {"takes_lock": purpose != "read"}

    def check(self, connection: Connection) -> None:
        """Look at every page.

        Raises:
            DataDirectoryError: The file is damaged.
        """
        verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if verdict != "ok":
            raise DataDirectoryError(f"{self.name} is damaged ({verdict}): restore it from a backup")

    def state(self) -> str | None:
        """The number of the last commit by anybody but this connection, which makes none.

        https://www.sqlite.org/pragma.html#pragma_data_version
        """
        try:
            with self._one_asks:
                if self._watching is None:
                    self._watching = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
                    self._watches += 1
                ((number,),) = self._watching.execute("PRAGMA data_version").fetchall()
        except sqlite3.Error:
            return None
        return f"{self._watches}.{number}"  # each connection counts for itself

    async def state_soon(self) -> str | None:
        """As `state`: the number lies in memory that all processes share."""
        return self.state()

    def close(self) -> None:
        """Close the connection that watches."""
        with self._one_asks:
            if self._watching is not None:
                self._watching.close()
                self._watching = None


def _configure(connection: SQLiteConnection, _record: object) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin transactions on its own; `_begin` does
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A write takes SQLite's lock at once: a later upgrade from a read could not wait and would fail."""
    takes_lock = connection.get_execution_options().get("takes_lock", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if takes_lock else "BEGIN")
