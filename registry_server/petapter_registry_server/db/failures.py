"""What errors of the database drivers mean for a request: wait and try again, or a value that cannot be stored."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from petapter_registry_server.errors import DatabaseUnavailableError, InvalidRequestError, StorageFullError
from petapter_registry_server.writes import SyncFailed, nobody_asks

# SQLSTATE classes: 08 connection, 53 resources, 57P shutdown and start-up, 58 system; then single codes: deadlock,
# serialization, lock timeout, statement timeout, read-only server, idle and transaction timeouts.
_PASSING_CLASSES = ("08", "53", "57P", "58")
_PASSING = frozenset({"40P01", "40001", "55P03", "57014", "25006", "25P03", "25P04"})
_DISK_FULL = "53100"

# Codes of SQLite without their details: another writer, and a system that refuses to read or write its files.
_BUSY_OR_REFUSED = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
    }
)
_SYNC_FAILED = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


@contextmanager
def translated(sync_failed: SyncFailed = nobody_asks) -> Iterator[None]:
    """Run a transaction; what may be gone in a moment becomes a PassingError, and a bug stays what it is.

    Args:
        sync_failed: Called when the database's own files could not be synced.

    Raises:
        DatabaseUnavailableError: The database cannot be reached, shuts down, or let the transaction wait too long.
        StorageFullError: Its disk is full.
        InvalidRequestError: A value cannot be stored, such as a text with a zero byte or a number out of range.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise _unavailable("all connections are in use") from error
    except DataError as error:
        raise InvalidRequestError(f"a value cannot be stored: {_first_line(error.orig)}") from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error) and _sqlite_code(error.orig) in _SYNC_FAILED:
            sync_failed()
        if _is_full(error.orig):
            _warn(_first_line(error.orig))
            raise StorageFullError from error
        if _is_passing(error):
            raise _unavailable(_first_line(error.orig)) from error
        raise


def one_line(error: BaseException | None) -> str:
    """A driver's message without its line breaks."""
    return " ".join(str(error).split())


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) & 0xFF in _BUSY_OR_REFUSED
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:  # psycopg found no server, or lost it
        return type(error.orig).__name__ == "OperationalError"
    return state in _PASSING or state.startswith(_PASSING_CLASSES)


def _is_full(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return _sqlite_code(error) & 0xFF == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == _DISK_FULL


def _sqlite_code(error: sqlite3.Error) -> int:
    """SQLite's own code with its details; 0 for an error of Python's module."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code


def _unavailable(problem: str) -> DatabaseUnavailableError:
    _warn(problem)
    return DatabaseUnavailableError()


def _warn(problem: str) -> None:
    structlog.get_logger("petapter_registry_server").warning("database", problem=problem)


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
