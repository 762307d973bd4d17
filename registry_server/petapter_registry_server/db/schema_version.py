"""Which version of the tables a SQLite file has, and whether its SQLite is a safe one."""

import sqlite3
from contextlib import closing
from pathlib import Path

from petapter_registry_server.errors import DataDirectoryError

_FIRST_BAD = (3, 7, 0)
_FIRST_GOOD = (3, 51, 3)  # https://sqlite.org/wal.html: two writers that reset the log at once could lose a commit


def version_of(file: Path) -> str:
    """The version of a database's tables.

    Raises:
        DataDirectoryError: The file is damaged, or no database of a registry.
    """
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            row = connection.execute("select version_num from alembic_version").fetchone()
    except sqlite3.Error as error:
        raise DataDirectoryError(f"{file} cannot be read: {error}") from error
    if verdict != "ok" or row is None:
        raise DataDirectoryError(f"{file} is damaged ({verdict}): restore it from a backup")
    return str(row[0])


def has_log_reset_bug(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """Whether two processes that write at once could damage a write-ahead log with this SQLite."""
    return _FIRST_BAD <= version < _FIRST_GOOD
