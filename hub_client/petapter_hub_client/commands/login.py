# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter login` and `petapter whoami`: tokens are tried before they are kept."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import say, say_json
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter_hub_client.identity import Identity

RemoteArgument = Annotated[str | None, typer.Argument(metavar="REMOTE", help="Default: the default remote.")]


def login(
    remote: RemoteArgument = None,
    *,
    token: Annotated[
        str | None, typer.Option("--token", metavar="T", help="The token; '-' reads it from standard input.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a token for a remote, once the remote has accepted it."""
    from petapter_hub_client.identity import identify
    from petapter_hub_client.remotes import find_remote
    from petapter_hub_client.tokens import check_token, store_token

    found = find_remote(remote)
    given = check_token(_read_token(token, found.name))
    identity = identify(found, given)
    path = store_token(found, given)
    _report(identity, f"logged in to {found.name} as {identity.user}; the token is in {path}", as_json=as_json)


def whoami(remote: RemoteArgument = None, *, as_json: JsonOption = False) -> None:
    """Say whom a remote takes you for."""
    from petapter_hub_client.identity import identify
    from petapter_hub_client.remotes import find_remote
    from petapter_hub_client.tokens import find_token

    found = find_remote(remote)
    identity = identify(found, find_token(found))
    groups = f" (organizations: {', '.join(identity.organizations)})" if identity.organizations else ""
    _report(identity, f"{identity.user} on {identity.remote}{groups}", as_json=as_json)


def _read_token(token: str | None, remote: str) -> str:
    if token == "-":  # noqa: S105 (means standard input)
        return sys.stdin.readline()
    if token is not None:
        return token
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask for the token: give --token T, or --token - and pipe it in")
    answer: str = typer.prompt(f"Token for {remote}", hide_input=True, err=True)
    return answer


def _report(identity: "Identity", sentence: str, *, as_json: bool) -> None:
    if as_json:
        say_json(asdict(identity))
    else:
        say(sentence)
