# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter login`, `logout` and `whoami`: tokens are tried before they are kept."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_remote
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import report, say, say_json, warn
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter_hub_client.identity import Identity

RemoteArgument = Annotated[
    str | None, typer.Argument(metavar="REMOTE", help="Default: the default remote.", autocompletion=complete_remote)
]


def login(
    remote: RemoteArgument = None,
    *,
    token: Annotated[
        str | None, typer.Option("--token", metavar="T", help="The token; '-' reads it from standard input.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a token for a remote, once the remote has accepted it."""
    from petapter_hub_client.identity import login as log_in
    from petapter_hub_client.remotes import find_remote
    from petapter_hub_client.tokens import find_origin

    found = find_remote(remote)
    identity = log_in(_read_token(token, found.name), found.name)
    if (origin := find_origin(found)) is not None and origin.is_variable:
        warn(f"{origin.place} is set and goes before the token that was kept: unset it")
    if as_json:
        say_json(_json(identity))
    else:
        report(f"logged in to {found.name} as {identity.user}; the token is in {identity.kept}")


def logout(remote: RemoteArgument = None, *, as_json: JsonOption = False) -> None:
    """Forget the token for a remote; the remote still takes it until it is revoked there."""
    from petapter_hub_client.identity import logout as log_out
    from petapter_hub_client.remotes import find_remote
    from petapter_hub_client.tokens import find_origin

    found = find_remote(remote)
    was_kept = log_out(found.name)
    left = find_origin(found)
    if as_json:
        say_json({"remote": found.name, "was_logged_in": was_kept, "left": left.place if left else None})
    elif was_kept:
        report(f"logged out of {found.name}")
    else:
        report(f"there was no token kept for {found.name}")
    if left is not None:
        how = f"unset {left.place}" if left.is_variable else "unset HF_TOKEN or run 'hf auth logout'"
        warn(f"{found.name} still gets a token from {left.place}: {how}")


def whoami(remote: RemoteArgument = None, *, as_json: JsonOption = False) -> None:
    """Say whom a remote takes you for."""
    from petapter_hub_client.identity import whoami as ask

    identity = ask(remote)
    groups = f" (organizations: {', '.join(identity.organizations)})" if identity.organizations else ""
    if as_json:
        say_json(_json(identity))
    else:
        say(f"{identity.user} on {identity.remote}{groups}")


def _json(identity: "Identity") -> dict[str, object]:
    return {key: value for key, value in asdict(identity).items() if key != "kept"}


def _read_token(token: str | None, remote: str) -> str:
    if token == "-":  # noqa: S105 (means standard input)
        return sys.stdin.readline()
    if token is not None:
        return token
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask for the token: give --token T, or --token - and pipe it in")
    answer: str = typer.prompt(f"Token for {remote}", hide_input=True, err=True)
    return answer
