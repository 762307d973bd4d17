"""`petapter-registry token …`: tokens made, listed, revoked, and logins approved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from petapter_registry_server.clock import now_ms
from petapter_registry_server.commands.opened import Config, Data, DatabaseUrl, opened_database
from petapter_registry_server.services.accounts import Accounts, TokenLimits, TokenLine
from petapter_registry_server.services.device_login import DeviceLogins
from petapter_registry_server.services.roles import Role, TokenRole

token_app = typer.Typer(
    help="Tokens of a registry; a running server sees changes at once.", no_args_is_help=True, rich_markup_mode=None
)

_DAY_MS = 86_400_000


@token_app.command("create")
def create_token(  # noqa: PLR0913, PLR0917 (the options of a command)
    user: Annotated[str, typer.Option(help="Whose token; a new name registers a user.")],
    role: Annotated[TokenRole, typer.Option(help="What it may do.")] = "write",
    scope: Annotated[Role | None, typer.Option(help="The most it may do of that; makes it fine-grained.")] = None,
    pattern: Annotated[str | None, typer.Option(help="The repositories it is for: team/name or team/*.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3660, help="How long it is good.  [default: for ever]")] = None,
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a token and print it, once."""
    expires_ms = None if days is None else now_ms() + days * _DAY_MS
    with _accounts(data, url, config) as accounts:
        limits = TokenLimits(expires_ms=expires_ms, scope=scope, pattern=pattern)
        typer.echo(accounts.issue_token(user, role, limits).secret)


@token_app.command("list")
def list_tokens(data: Data = None, url: DatabaseUrl = None, config: Config = None) -> None:
    """List tokens by id, without their secrets."""
    with _accounts(data, url, config) as accounts:
        for line in accounts.list_tokens():
            typer.echo(f"{line.id}\t{line.user}\t{_rights(line)}\t{line.created}\t{_state(line)}")


@token_app.command("approve")
def approve_login(
    user: Annotated[str, typer.Option(help="Who the program may act as.")],
    code: Annotated[str, typer.Argument(help="The code that the program shows.")],
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Let a program that waits in a login by browser have a token."""
    with opened_database(data, url, config) as database:
        DeviceLogins(database).approve_for(user, code)
    typer.echo(f"approved {code} for {user}")


@token_app.command("revoke")
def revoke_token(
    token_id: Annotated[int, typer.Argument(min=1, max=(1 << 31) - 1, help="The id that 'token list' shows.")],
    data: Data = None,
    url: DatabaseUrl = None,
    config: Config = None,
) -> None:
    """Make a token worthless."""
    with _accounts(data, url, config) as accounts:
        accounts.revoke_token(token_id)
    typer.echo(f"revoked token {token_id}")


@contextmanager
def _accounts(data: Path | None, url: str | None, config: Path | None) -> Iterator[Accounts]:
    with opened_database(data, url, config) as database:
        yield Accounts(database)


def _rights(line: TokenLine) -> str:
    return line.role if line.scope is None else f"{line.scope} {line.pattern or '*'}"


def _state(line: TokenLine) -> str:
    if line.revoked:
        return f"revoked {line.revoked}"
    used = f"used {line.last_used}" if line.last_used else "never used"
    return f"valid until {line.expires}, {used}" if line.expires else f"valid, {used}"
