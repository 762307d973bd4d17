"""`petapter-registry worker` and `worker-key`: the process that measures modules, and the keys that it signs with."""

import signal
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.commands.opened import (
    Blobs,
    Config,
    Data,
    DatabaseUrl,
    Kept,
    opened_database,
    opened_registry,
)
from petapter_registry_server.logs import configure_logging
from petapter_registry_server.services.evaluation_queue import EvaluationQueue
from petapter_registry_server.services.worker_keys import WorkerKeys, read_worker_key
from petapter_registry_server.settings import Settings, read_settings
from petapter_registry_server.worker.backbones import LocalBackbones
from petapter_registry_server.worker.confinement import Confinement, Limits
from petapter_registry_server.worker.preparing import Sources
from petapter_registry_server.worker.running import Tools, Worker
from petapter_schemas.errors import InputError

app = typer.Typer(rich_markup_mode=None)
key_app = typer.Typer(help="Keys that workers sign with.", no_args_is_help=True, rich_markup_mode=None)

KeyName = Annotated[str, typer.Argument(help="Name of the key.")]


@app.command()
def worker(  # noqa: PLR0913, PLR0917 (the options of a command)
    data: Data = None,
    url: DatabaseUrl = None,
    blobs: Blobs = None,
    backbones: Annotated[
        Path | None, typer.Option(help="Directory below which the backbones lie.", file_okay=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="File of the key to sign with.", dir_okay=False)] = None,
    poll: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks at an empty queue.")] = 5,
    once: Annotated[bool, typer.Option("--once", help="End when the queue is empty.")] = False,  # noqa: FBT002 (a switch)
    config: Config = None,
) -> None:
    """Measure modules on evaluation sets, as the queue asks, each in a process that reaches no network."""
    configure_logging()
    settings = read_settings(
        {"data": data, "database": url, "blobs": blobs, "config": config,
         "worker_backbones": backbones, "worker_key": key}
    )  # fmt: skip
    with opened_registry(data, url, blobs, config) as kept:
        made, name = _worker(settings, kept)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: made.stop())
        typer.echo(f"petapter-registry worker {name} measures for {kept.database.name}", err=True)
        if once:
            while made.run_one():
                pass
        else:
            made.run(poll_s=poll)


@key_app.command("create")
def create_key(
    name: KeyName,
    file: Annotated[Path, typer.Option(help="New file for the private key; it gets mode 600.", dir_okay=False)],
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a key for workers; the registry publishes its public half."""
    with opened_database(data, url, config) as database:
        fingerprint = WorkerKeys(database).create(name, file)
    typer.echo(f"made worker key {name} ({fingerprint}) in {file}")


@key_app.command("list")
def list_keys(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List the keys of workers."""
    with opened_database(data, url, config) as database:
        for key in WorkerKeys(database).list():
            state = f"revoked {key.revoked}" if key.revoked else "counts"
            typer.echo(f"{key.name}\t{key.fingerprint}\t{key.created}\t{state}")


@key_app.command("revoke")
def revoke_key(name: KeyName, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Let a key count no more; a worker that has it ends its next job without a result."""
    with opened_database(data, url, config) as database:
        WorkerKeys(database).revoke(name)
    typer.echo(f"revoked worker key {name}")


def _worker(settings: Settings, kept: Kept) -> tuple[Worker, str]:
    """A worker that can work here, and its name."""
    if find_spec("torch") is None:
        raise InputError("a worker needs torch: pip install 'petapter[worker]'")
    if settings.worker_backbones is None or settings.worker_key is None:
        missing = "--backbones DIR" if settings.worker_backbones is None else "--key FILE"
        raise InputError(f"a worker needs {missing}, or the setting of that name")
    key = read_worker_key(settings.worker_key)
    name = f"{WorkerKeys(kept.database).name_of(key)}@{socket.gethostname()}"
    limits = Limits(settings.worker_timeout_s, settings.worker_memory_bytes, settings.worker_threads)
    confinement = Confinement(limits, settings.worker_isolation)
    with tempfile.TemporaryDirectory(prefix="petapter-probe-") as folder:
        confinement.check(Path(folder))
    sources = Sources(kept.database, kept.store, LocalBackbones(settings.worker_backbones))
    return Worker(EvaluationQueue(kept.database, name), Tools(sources, confinement, key)), name
