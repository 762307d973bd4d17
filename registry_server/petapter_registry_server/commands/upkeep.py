"""The commands that keep a data directory in order: they work beside a running server, and by themselves."""

from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.commands.opened import Blobs, Config, Data, DatabaseUrl, opened_registry
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.services.scrubbing import Damage, Scrubbing
from petapter_registry_server.settings import read_settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.opening import open_store

app = typer.Typer(rich_markup_mode=None)

_HOUR_MS = 3_600_000


@app.command("gc")
def collect_garbage(
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    grace: Annotated[float, typer.Option(min=0, help="Hours before a blob is condemned, and again deleted.")] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,  # noqa: FBT002 (a switch)
    config: Config = None,
) -> None:
    """Delete the bytes that no repository refers to any more."""
    with opened_registry(data, url, blobs, config) as kept:
        collection = GarbageCollection(kept.database, kept.store, kept.staging, grace_ms=round(grace * _HOUR_MS))
        found = collection.preview() if dry_run else collection.run()
    would = "would be " if dry_run else ""
    typer.echo(
        f"{found.condemned + found.strays} blobs {would}condemned ({found.strays} of them unknown bytes), "
        f"{found.deleted} {would}deleted ({found.deleted_bytes} bytes)"
    )
    if found.abandoned:
        typer.echo(f"{found.abandoned} abandoned uploads {would}deleted")


@app.command()
def scrub(
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    replica: Annotated[
        str | None, typer.Option(help="Where good copies may be: a backup, another data directory, or s3://….")
    ] = None,
    config: Config = None,
) -> None:
    """Read and hash every blob; move damaged ones aside and heal them from a replica. Exit 1 when damage is left."""
    with opened_registry(data, url, blobs, config) as kept:
        copies = _open_replica(kept.data, replica) if replica else None
        done = Scrubbing(kept.database, kept.store, copies).run(lambda damage: typer.echo(_damage_line(damage)))
    typer.echo(f"{done.blobs} blobs ({done.bytes} bytes) checked, {done.damaged} damaged, {done.healed} of them healed")
    if done.damaged > done.healed:
        raise typer.Exit(1)


@app.command()
def doctor(data: Data = None, url: DatabaseUrl = None, blobs: Blobs = None, config: Config = None) -> None:
    """Check settings, data directory, database and blob store, one line each. Exit 1 when anything fails."""
    from petapter_registry_server.services.doctor import examine_installation  # noqa: PLC0415 (nobody else needs it)

    states = set()
    settings = read_settings({"data": data, "database": url, "blobs": blobs, "config": config})
    for finding in examine_installation(settings):
        typer.echo(f"{finding.state:8} {finding.subject}: {finding.text}")
        states.add(finding.state)
    if "failure" in states:
        raise typer.Exit(1)


def _damage_line(damage: Damage) -> str:
    state = "healed" if damage.is_healed else "push the same file again, or give --replica"
    return f"{damage.sha256} is {damage.finding} ({', '.join(damage.files) or 'of no repository'}): {state}"


def _open_replica(data: Path, replica: str) -> BlobShelf:
    if replica.startswith("s3://"):
        return open_store(data, replica)
    if not (Path(replica) / "blobs").is_dir():
        raise DataDirectoryError(f"{replica} holds no blobs: give a backup, another data directory, or s3://…")
    return open_store(Path(replica), None)
