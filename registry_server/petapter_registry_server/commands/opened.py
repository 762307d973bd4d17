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
from petapter_registry_server.settings import read_place

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="PETAPTER_REGISTRY_DATA", help="The data directory.", file_okay=False),
]
Blobs = Annotated[
    str | None,
    typer.Option(
        envvar="PETAPTER_REGISTRY_BLOBS",
        help="Object store that holds the bytes: s3://bucket[/prefix].  [default: the data directory]",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="PETAPTER_REGISTRY_CONFIG",
        help="TOML file with settings; options and the environment win.",
        dir_okay=False,
    ),
]
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
def opened_database(data: Path | None, url: str | None, config: Path | None) -> Iterator[Database]:
    """The database of a registry, with the tables of this version.

    Raises:
        InputError: Nothing says which, or the URL names no PostgreSQL database.
        DataDirectoryError: There is no registry, or its database cannot be used.
    """
    with closing(open_existing(read_place({"data": data, "database": url, "config": config}))) as database:
        database.migrate()
        yield database


@contextmanager
def opened_organisations(data: Path | None, url: str | None, config: Path | None) -> Iterator[Organisations]:
    """The organisations of a registry. Raises: as `opened_database`."""
    with opened_database(data, url, config) as database:
        yield Organisations(database, Access(database, anonymous_may_read=True))
