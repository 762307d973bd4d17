"""A copy of a database in a SQLite file: one consistent state, whatever is written meanwhile."""

from contextlib import closing
from pathlib import Path

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.row_copy import copy_rows, is_unused
from petapter_registry_server.db.sqlite_copy import copy_file
from petapter_registry_server.errors import DataDirectoryError


def save_snapshot(database: Database, file: Path) -> None:
    """Copy a database, which may be in use, to a new SQLite file: page by page from SQLite, row by row from PostgreSQL.

    Raises:
        DataDirectoryError: The database cannot be read, or the copy is damaged.
        DatabaseUnavailableError: It does not answer.
    """
    if database.file is not None:
        copy_file(database.file, file)
        return
    with closing(Database(file)) as copy:
        copy.migrate()
        with database.read() as source, copy.write() as target:
            copy_rows(source, target)


def check_unused(database: Database) -> None:
    """Refuse a database that holds a registry already; it must have the tables of this version.

    Raises:
        DataDirectoryError: It does.
    """
    with database.read() as session:
        unused = is_unused(session)
    if not unused:
        raise DataDirectoryError(f"{database.name} holds a registry already: make a new database")


def load_snapshot(file: Path, database: Database) -> None:
    """Copy a SQLite file, which is brought to this version, into an unused database: all rows at once, or none.

    Raises:
        DataDirectoryError: The file is damaged or newer than this program.
        DatabaseUnavailableError: The database does not answer.
    """
    with closing(Database(file)) as copy:
        copy.migrate()
        with copy.read() as source, database.write() as target:
            copy_rows(source, target)
