# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter remote`: add, list, remove and choose remotes, and say what each must prove."""

from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_remote
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import report, say_json, say_table, warn

if TYPE_CHECKING:
    from petapter_hub_client.remotes import Policy, Remote

KnownArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The remote's name.", autocompletion=complete_remote)
]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Add, list, remove and choose remotes, and say what each must prove.",
)

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
    rows = [(remote.name, remote.url, remote.name == default, _token_place(remote)) for remote in list_remotes()]
    if as_json:
        say_json([{"name": name, "url": url, "default": chosen, "token": place} for name, url, chosen, place in rows])
    else:
        shown = [("*" if chosen else "", name, url, place or "-") for name, url, chosen, place in rows]
        say_table(("", "name", "url", "token from"), shown)


@app.command()
def remove(name: KnownArgument, *, as_json: JsonOption = False) -> None:
    """Forget a remote and its token."""
    from petapter_hub_client.remotes import remove_remote
    from petapter_hub_client.tokens import forget_token

    remove_remote(name)
    forget_token(name)
    _report(name, None, f"removed remote {name} and its token", as_json=as_json)


@app.command()
def default(name: KnownArgument, *, as_json: JsonOption = False) -> None:
    """Choose the remote of references that name none."""
    from petapter_hub_client.remotes import default_remote_name, set_default_remote

    remote = set_default_remote(name)
    if (meant := default_remote_name()) != name:
        warn(f"PETAPTER_REMOTE is set, so the default remote is {meant!r} until that is unset")
    _report(name, remote.url, f"{name} is the default remote: {remote.url}", as_json=as_json)


@app.command()
def policy(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Default: the default remote.", autocompletion=complete_remote),
    ] = None,
    *,
    require_signature: Annotated[
        bool | None,
        typer.Option(
            "--require-signature/--no-require-signature", help="Whether a trusted key must have signed each module."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="PATTERN=KEY", help="A trusted key that may sign these; may be repeated."),
    ] = None,
    disallow: Annotated[
        list[str] | None,
        typer.Option("--disallow", metavar="PATTERN[=KEY]", help="The reverse of --allow; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show or change what a remote's modules must prove before they are used."""
    from petapter_hub_client.remotes import find_policy, find_remote
    from petapter_hub_client.signing.policies import change_policy

    remote = find_remote(name)
    if require_signature is not None or allow or disallow:
        change_policy(remote.name, require_signature=require_signature, allow=allow or (), disallow=disallow or ())
    _say_policy(remote.name, find_policy(remote.name), as_json=as_json)


def _say_policy(name: str, found: "Policy", *, as_json: bool) -> None:
    from petapter_hub_client.signing.policies import key_name

    if as_json:
        say_json({"name": name, "asks_for_signatures": found.asks_for_signatures, **found.model_dump(mode="json")})
        return
    if not found.asks_for_signatures:
        report(f"modules of {name} need no signature")
        return
    if not found.allowed:
        report(f"modules of {name} must be signed by a trusted key")
        return
    report(f"modules of {name} must be signed by")
    say_table(
        ("modules", "key", "fingerprint"), [(each.modules, key_name(each.key), each.key) for each in found.allowed]
    )


def _report(name: str, url: str | None, sentence: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"name": name, "url": url})
    else:
        report(sentence)


def _token_place(remote: "Remote") -> str | None:
    from petapter_hub_client.tokens import find_origin

    origin = find_origin(remote)
    return origin.place if origin else None
