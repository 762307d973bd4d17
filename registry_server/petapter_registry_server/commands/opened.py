"""The registry that console commands work on, beside its running servers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.opening import open_existing
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.organisations import Organisations

Directory = Annotated[Path, typer.Option("--data", help="The data directory.", file_okay=False)]
Blobs = Annotated[str | None, typer.Option(help="The object store that the server runs with: s3://bucket[/prefix].")]
Data = Annotated[Path | None, typer.Option("--data", help="The data directory.", file_okay=False)]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="PETAPTER_REGISTRY_DATABASE",
        help="URL of a PostgreSQL database.  [default: SQLite in the data directory]",
        show_default=False,
    ),
]


@contextmanager
def opened_database(data: Path | None, url: str | None) -> Iterator[Database]:
    """The database of a registry, with the tables of this version.

    Raises:
        InputError: Neither is given, or the URL names no PostgreSQL database.
        DataDirectoryError: There is no registry, or its database cannot be used.
    """
    with closing(open_existing(data, url)) as database:
        database.migrate()
        yield database


@contextmanager
def opened_organisations(data: Path | None, url: str | None) -> Iterator[Organisations]:
    """The organisations of a registry. Raises: as `opened_database`."""
    with opened_database(data, url) as database:
        yield Organisations(database, Access(database, anonymous_may_read=True))
