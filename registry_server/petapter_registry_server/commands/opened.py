"""The registry that console commands work on, beside its running servers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.opening import open_existing
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.belonging import check_belonging
from petapter_registry_server.services.organisations import Organisations
from petapter_registry_server.settings import read_place, read_settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.opening import open_staging, open_store
from petapter_registry_server.storage.staging import Staging

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


@dataclass(frozen=True)
class Kept:
    """What a registry keeps: rows, bytes, its data directory; and where clients send bytes themselves, if anywhere."""

    data: Path
    database: Database
    store: BlobShelf
    staging: Staging | None


@contextmanager
def opened_registry(data: Path | None, url: str | None, blobs: str | None, config: Path | None) -> Iterator[Kept]:
    """A registry, with the tables of this version, whose database and blobs belong together.

    Raises:
        InputError: As `opened_database`, or nothing says which data directory.
        DataDirectoryError: There is no registry, or its database cannot be used, or the blobs are another's.
        StoreError: The blob store cannot be used.
    """
    settings = read_settings({"data": data, "database": url, "blobs": blobs, "config": config})
    with opened_database(data, url, config) as database:
        store = open_store(settings.data, settings.blobs)
        check_belonging(database, store)
        yield Kept(settings.data, database, store, open_staging(settings))
