"""`petapter-registry audit …`: the audit as JSON lines, and the proof that it is whole."""

import json
import re
from dataclasses import asdict
from typing import Annotated

import typer

from petapter_registry_server.commands.opened import Config, Data, DatabaseUrl, opened_database
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.audit_log import AuditEnd, AuditLog

audit_app = typer.Typer(help="The record of changes of a data directory.", no_args_is_help=True, rich_markup_mode=None)

_END = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@audit_app.command("export")
def export_audit(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """Print every row as a line of JSON, oldest first."""
    with opened_database(data, url, config) as database:
        for line in AuditLog(database).lines():
            typer.echo(json.dumps(asdict(line)))


@audit_app.command("verify")
def verify_audit(
    contains: Annotated[str | None, typer.Option(help="An end ID:SHA256 that an earlier verify printed.")] = None,
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Compute the chain again and print its end; keep that elsewhere to prove later that nothing changed."""
    with opened_database(data, url, config) as database:
        end = AuditLog(database).verify(_read_end(contains) if contains else None)
    typer.echo(f"{end.id}:{end.sha256}")


def _read_end(text: str) -> AuditEnd:
    match = _END.fullmatch(text)
    if match is None:
        raise InvalidRequestError(f"{text!r} is no end of an audit: give ID:SHA256 as 'audit verify' prints it")
    return AuditEnd(int(match[1]), match[2])
