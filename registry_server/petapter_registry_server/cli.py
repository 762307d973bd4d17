"""The command `petapter-registry`: serve a data directory, and hand out tokens for it."""

import gc
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.commands import copies, upkeep, working
from petapter_registry_server.commands.audit import audit_app
from petapter_registry_server.commands.opened import Blobs, Config, Data, DatabaseUrl, opened_database
from petapter_registry_server.commands.people import org_app, user_app
from petapter_registry_server.commands.tokens import token_app
from petapter_registry_server.commands.webhooks import webhook_app
from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.opening import hold_directory, open_database, open_existing
from petapter_registry_server.logs import configure_logging
from petapter_registry_server.services.accounts import Accounts
from petapter_registry_server.services.indexing import Indexing
from petapter_registry_server.settings import read_place, read_settings
from petapter_registry_server.storage.opening import open_store
from petapter_schemas.errors import PetapterError

app = typer.Typer(
    help="A registry for petapter modules that speaks the Hugging Face Hub's protocol.",
    no_args_is_help=True,
    rich_markup_mode=None,  # it takes [default: …] and [/prefix] for markup, loses the one and fails at the other
)
app.add_typer(token_app, name="token")
app.add_typer(user_app, name="user")
app.add_typer(org_app, name="org")
app.add_typer(webhook_app, name="webhook")
app.add_typer(audit_app, name="audit")
app.add_typer(upkeep.app)
app.add_typer(copies.app)
app.add_typer(working.app)
app.add_typer(working.key_app, name="worker-key")


def main() -> None:
    """Run the command; an error on purpose is one line and exit code 1."""
    try:
        app()
    except PetapterError as error:
        typer.echo(f"petapter-registry: {error}", err=True)
        sys.exit(1)


@app.command()
def serve(  # noqa: PLR0913, PLR0917 (the options of a command)
    data: Data = None,
    url: DatabaseUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8470]")] = None,
    port_file: Annotated[Path | None, typer.Option(help="File to write the port to, once it is open.")] = None,
    blobs: Blobs = None,
    config: Config = None,
) -> None:
    """Serve a data directory; the first start makes it and prints the admin token, once."""
    gc.disable()  # what a start makes is there to stay; `serve_directory` switches it on again before the first request
    from petapter_registry_server.serving import serve_directory  # noqa: PLC0415 (half a second that others do without)

    configure_logging()
    given = {"data": data, "database": url, "host": host, "port": port, "blobs": blobs, "config": config}
    try:
        serve_directory(read_settings(given), port_file)
    finally:
        gc.enable()


@app.command()
def init(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Make a registry without serving it, and print the admin token, once; what is there already stays."""
    settings = read_settings({"data": data, "database": url, "config": config})
    with hold_directory(settings), closing(open_database(settings)) as database:
        issued = Accounts(database).create_first_admin()
    if issued is None:
        typer.echo(f"{database.name} holds a registry already: 'petapter-registry token create' makes tokens", err=True)
    else:
        typer.echo(issued.secret)


@app.command()
def reindex(data: Data = None, url: DatabaseUrl = None, blobs: Blobs = None, config: Config = None) -> None:
    """Derive the search index again from commits, versions and files; the servers must be stopped."""
    settings = read_settings({"data": data, "database": url, "blobs": blobs, "config": config})
    with opened_database(data, url, config) as database, DataDirectory(settings.data).locked():
        found = Indexing(database, open_store(settings.data, settings.blobs)).rebuild()
    typer.echo(f"search finds {found} modules")


@app.command()
def migrate(
    data: Data = None,
    url: DatabaseUrl = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when work is due.")] = False,
    config: Config = None,
) -> None:
    """Bring the tables to this version, as 'serve' does when it starts."""
    with closing(open_existing(read_place({"data": data, "database": url, "config": config}))) as opened:
        if check:
            opened.check()
        else:
            opened.migrate()
        typer.echo(f"{opened.name}: the tables are those of this version")
