# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter remote`: add, list, remove and choose remotes."""

from typing import Annotated

import typer

from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import say, say_json, say_table, warn

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Add, list, remove and choose remotes.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The remote's name in references: NAME:team/module.")]


@app.command()
def add(
    name: NameArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Its address, for example http://127.0.0.1:8470.")],
    *,
    default: Annotated[bool, typer.Option("--default", help="Also make it the default remote.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a registry under a name."""
    from petapter_hub_client.remotes import add_remote, is_unencrypted, set_default_remote

    remote = add_remote(name, url)
    if default:
        set_default_remote(name)
    if is_unencrypted(remote):
        warn(f"{remote.url} is not encrypted: tokens and modules travel in the open; use https outside this machine")
    _report(name, remote.url, f"added remote {name}: {remote.url}", as_json=as_json)


@app.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List all remotes; the default one is marked."""
    from petapter_hub_client.remotes import default_remote_name, list_remotes

    default = default_remote_name()
    remotes = list_remotes()
    if as_json:
        say_json([{"name": r.name, "url": r.url, "default": r.name == default} for r in remotes])
    else:
        say_table(("", "name", "url"), [("*" if r.name == default else "", r.name, r.url) for r in remotes])


@app.command()
def remove(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Forget a remote and its token."""
    from petapter_hub_client.remotes import remove_remote
    from petapter_hub_client.tokens import forget_token

    remove_remote(name)
    forget_token(name)
    _report(name, None, f"removed remote {name} and its token", as_json=as_json)


@app.command()
def default(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Choose the remote of references that name none."""
    from petapter_hub_client.remotes import set_default_remote

    remote = set_default_remote(name)
    _report(name, remote.url, f"{name} is the default remote: {remote.url}", as_json=as_json)


def _report(name: str, url: str | None, sentence: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"name": name, "url": url})
    else:
        say(sentence)
