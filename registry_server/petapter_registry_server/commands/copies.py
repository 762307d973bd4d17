# ruff: noqa: PLC0415 (what a command needs is imported when it runs, so that 'serve' starts fast)
"""The commands that carry a whole registry elsewhere: backup, restore and export."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.commands.opened import Blobs, Config, Data, DatabaseUrl, opened_registry
from petapter_registry_server.db.opening import open_existing
from petapter_registry_server.settings import read_settings

app = typer.Typer(rich_markup_mode=None)


@app.command()
def backup(
    to: Annotated[Path, typer.Option("--to", help="Directory to make; local blobs are hard links where possible.")],
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    config: Config = None,
) -> None:
    """Copy the registry to a new directory, also while it is serving."""
    from petapter_registry_server.services.backup import back_up

    with opened_registry(data, url, blobs, config) as kept:
        done = back_up(kept.database, kept.store, to)
    typer.echo(f"{to} holds the database and {done.blobs} blobs ({done.bytes} bytes)")


@app.command("restore")
def restore_backup(
    source: Annotated[Path, typer.Option("--from", help="The backup.", file_okay=False)],
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    config: Config = None,
) -> None:
    """Make a registry from a backup, on SQLite or PostgreSQL; every blob is hashed on the way."""
    from petapter_registry_server.services.backup import restore

    settings = read_settings({"data": data, "database": url, "blobs": blobs, "config": config})
    if settings.database is None:
        done = restore(source, settings.data, settings.blobs)
    else:
        with closing(open_existing(settings)) as database:
            database.migrate()
            done = restore(source, settings.data, settings.blobs, database)
    typer.echo(f"restored {done.blobs} blobs ({done.bytes} bytes): 'petapter-registry serve' with the same options")


@app.command("export")
def export_registry(
    to: Annotated[Path, typer.Option("--to", help="Directory to make.")],
    only: Annotated[str | None, typer.Option(help="A namespace, or one repository: team or team/tickets.")] = None,
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    config: Config = None,
) -> None:
    """Write versions and branches as plain directories, and what is known of them as JSON Lines."""
    from petapter_registry_server.services.export import export

    with opened_registry(data, url, blobs, config) as kept:
        done = export(kept.database, kept.store, to, only)
    typer.echo(
        f"{to} holds {done.repositories} repositories with {done.versions} versions: {done.files} files"
        f" ({done.bytes} bytes); see {to / 'README.txt'}"
    )
