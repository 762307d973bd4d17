"""Copies of a SQLite file that is in use: one consistent state, whatever is written meanwhile."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from petapter_registry_server.db.blobs import KnownBlob
from petapter_registry_server.errors import DataDirectoryError

_PAGES = 1000  # a writer waits for at most so many pages at a time


def copy_file(source: Path, target: Path) -> None:
    """Copy a database with SQLite's online backup.

    Raises:
        DataDirectoryError: The source cannot be read, or the copy is damaged.
    """
    try:
        with closing(sqlite3.connect(_uri(source), uri=True)) as origin, closing(sqlite3.connect(target)) as copy:
            origin.backup(copy, pages=_PAGES)
            verdict = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise DataDirectoryError(f"{source} cannot be copied: {error}") from error
    if verdict != "ok":
        raise DataDirectoryError(f"{source} is damaged ({verdict}): restore it from a backup")


def promised_blobs(file: Path) -> Sequence[KnownBlob]:
    """The blobs whose bytes a database that nobody writes to promises.

    Raises:
        DataDirectoryError: The file is no database of a registry, or of an older version.
    """
    query = "select sha256, size from blobs where condemned_ms is null and damaged_ms is null order by sha256"
    try:
        with closing(sqlite3.connect(_uri(file), uri=True)) as connection:
            return [KnownBlob(sha256, size, is_damaged=False) for sha256, size in connection.execute(query)]
    except sqlite3.Error as error:
        raise DataDirectoryError(f"{file} cannot be read: {error}") from error


def _uri(file: Path) -> str:
    return f"{file.absolute().as_uri()}?mode=ro"
