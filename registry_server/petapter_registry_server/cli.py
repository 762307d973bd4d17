"""The command `petapter-registry`: serve a data directory, and hand out tokens for it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from petapter_registry_server.clock import now_ms
from petapter_registry_server.commands.audit import audit_app
from petapter_registry_server.commands.opened import Data, opened_database
from petapter_registry_server.commands.people import org_app, user_app
from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.logs import configure_logging
from petapter_registry_server.services.accounts import Accounts, TokenLimits, TokenLine
from petapter_registry_server.services.device_login import DeviceLogins
from petapter_registry_server.services.indexing import Indexing
from petapter_registry_server.services.roles import Role, TokenRole
from petapter_registry_server.serving import serve_directory
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_schemas.errors import InputError, PetapterError
from petapter_schemas.messages import first_problem

app = typer.Typer(
    help="A registry for petapter modules that speaks the Hugging Face Hub's protocol.", no_args_is_help=True
)
token_app = typer.Typer(help="Tokens of a data directory; a running server sees changes at once.", no_args_is_help=True)
app.add_typer(token_app, name="token")
app.add_typer(user_app, name="user")
app.add_typer(org_app, name="org")
app.add_typer(audit_app, name="audit")

_DAY_MS = 86_400_000


def main() -> None:
    """Run the command; an error on purpose is one line and exit code 1."""
    try:
        app()
    except PetapterError as error:
        typer.echo(f"petapter-registry: {error}", err=True)
        sys.exit(1)


@app.command()
def serve(
    data: Data,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.  [default: 8470]")] = None,
    port_file: Annotated[Path | None, typer.Option(help="File to write the port to, once it is open.")] = None,
) -> None:
    """Serve a data directory; the first start makes it and prints the admin token, once."""
    configure_logging()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    serve_directory(_settings({"data": data, **given}), port_file)


@app.command()
def reindex(data: Data) -> None:
    """Derive the search index again from commits, versions and files; the server must be stopped."""
    with opened_database(data) as database, DataDirectory(data).locked():
        found = Indexing(database, LocalBlobStore(data)).rebuild()
    typer.echo(f"search finds {found} modules")


@token_app.command("create")
def create_token(
    data: Data,
    user: Annotated[str, typer.Option(help="Whose token; a new name registers a user.")],
    role: Annotated[TokenRole, typer.Option(help="What it may do.")] = "write",
    scope: Annotated[Role | None, typer.Option(help="The most it may do of that; makes it fine-grained.")] = None,
    pattern: Annotated[str | None, typer.Option(help="The repositories it is for: team/name or team/*.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3660, help="How long it is good.  [default: for ever]")] = None,
) -> None:
    """Make a token and print it, once."""
    expires_ms = None if days is None else now_ms() + days * _DAY_MS
    with _accounts(data) as accounts:
        limits = TokenLimits(expires_ms=expires_ms, scope=scope, pattern=pattern)
        typer.echo(accounts.issue_token(user, role, limits).secret)


@token_app.command("list")
def list_tokens(data: Data) -> None:
    """List tokens by id, without their secrets."""
    with _accounts(data) as accounts:
        for line in accounts.list_tokens():
            typer.echo(f"{line.id}\t{line.user}\t{_rights(line)}\t{line.created}\t{_state(line)}")


@token_app.command("approve")
def approve_login(
    data: Data,
    user: Annotated[str, typer.Option(help="Who the program may act as.")],
    code: Annotated[str, typer.Argument(help="The code that the program shows.")],
) -> None:
    """Let a program that waits in a login by browser have a token."""
    with opened_database(data) as database:
        DeviceLogins(database).approve_for(user, code)
    typer.echo(f"approved {code} for {user}")


@token_app.command("revoke")
def revoke_token(
    data: Data, token_id: Annotated[int, typer.Argument(min=1, max=1 << 31, help="The id that 'token list' shows.")]
) -> None:
    """Make a token worthless."""
    with _accounts(data) as accounts:
        accounts.revoke_token(token_id)
    typer.echo(f"revoked token {token_id}")


def _settings(given: Mapping[str, object]) -> Settings:
    """What the command line gives, then the environment, then the defaults."""
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise InputError(f"setting {first_problem(error)}") from error


@contextmanager
def _accounts(data: Path) -> Iterator[Accounts]:
    with opened_database(data) as database:
        yield Accounts(database)


def _rights(line: TokenLine) -> str:
    return line.role if line.scope is None else f"{line.scope} {line.pattern or '*'}"


def _state(line: TokenLine) -> str:
    if line.revoked:
        return f"revoked {line.revoked}"
    used = f"used {line.last_used}" if line.last_used else "never used"
    return f"valid until {line.expires}, {used}" if line.expires else f"valid, {used}"
