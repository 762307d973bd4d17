"""A data directory as console commands open it, beside a running server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.organisations import Organisations

Data = Annotated[Path, typer.Option("--data", help="The data directory.", file_okay=False)]


@contextmanager
def opened_database(data: Path) -> Iterator[Database]:
    """The database of a data directory that a server has made.

    Raises:
        DataDirectoryError: There is none, or it cannot be used.
    """
    directory = DataDirectory(data)
    if not directory.database.is_file():
        raise DataDirectoryError(f"{data} is no data directory: start 'petapter-registry serve --data {data}' once")
    database = Database(directory.database)
    try:
        database.migrate()
        yield database
    finally:
        database.close()


@contextmanager
def opened_organisations(data: Path) -> Iterator[Organisations]:
    """The organisations of a data directory. Raises: DataDirectoryError."""
    with opened_database(data) as database:
        yield Organisations(database, Access(database, anonymous_may_read=True))
