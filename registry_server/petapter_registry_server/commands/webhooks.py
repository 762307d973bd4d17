"""`petapter-registry webhook …`: what operators see of webhooks, and how they end one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.commands.opened import Config, Data, DatabaseUrl, opened_database
from petapter_registry_server.services.access import Access
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.webhooks import Webhooks

webhook_app = typer.Typer(help="Webhooks of a data directory.", no_args_is_help=True, rich_markup_mode=None)

WebhookId = Annotated[int, typer.Argument(help="The webhook's number.", min=1)]


@webhook_app.command("list")
def list_webhooks(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List all webhooks, oldest first."""
    with _opened_webhooks(data, url, config) as webhooks:
        for line in webhooks.list_for(CONSOLE):
            state = f"{line.failures} failed in a row" if line.failures else "ready"
            typer.echo(f"{line.id}\t{line.place}\t{line.url}\t{' '.join(line.kinds)}\t{state}")


@webhook_app.command("deliveries")
def list_deliveries(webhook: WebhookId, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List what became of the last events for a webhook, newest first."""
    with _opened_webhooks(data, url, config) as webhooks:
        for line in webhooks.deliveries(CONSOLE, webhook)[1]:
            answer = line.problem or (line.status or "")
            typer.echo(f"{line.message_id}\t{line.kind}\t{line.created}\t{line.state}\t{line.attempts}\t{answer}")


@webhook_app.command("remove")
def remove_webhook(webhook: WebhookId, data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Remove a webhook, with what is on its way to it."""
    with _opened_webhooks(data, url, config) as webhooks:
        webhooks.remove(CONSOLE, webhook)
    typer.echo(f"removed webhook {webhook}")


@contextmanager
def _opened_webhooks(data: Path | None, url: str | None, config: Path | None) -> Iterator[Webhooks]:
    with opened_database(data, url, config) as database:
        yield Webhooks(database, Access(database, anonymous_may_read=True), Outbound(loopback=False))
