# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter keys`: keys to sign modules with, and those whose signatures count."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import note, report, say_json, say_table

if TYPE_CHECKING:
    from petapter_hub_client.signing.keys import OwnKey, TrustedKey

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make keys to sign modules with, and say whose signatures count.",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the key is called here.")]
KnownArgument = Annotated[str, typer.Argument(metavar="NAME", help="A key's name, or how its fingerprint begins.")]


@app.command()
def new(
    name: NameArgument,
    *,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for a passphrase, or take PETAPTER_KEY_PASSPHRASE.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key to sign with; it is trusted here."""
    from petapter_hub_client.commands.sign import new_passphrase
    from petapter_hub_client.signing.keys import make_key

    made = make_key(name, new_passphrase() if passphrase else None)
    if as_json:
        say_json(_own_json(made))
        return
    report(f"made key {made.name}, {made.fingerprint}")
    report(f"give {made.public_path} to whoever shall trust it, and {made.path} to nobody")


@app.command("list")
def list_(*, as_json: JsonOption = False) -> None:
    """List the keys to sign with and those whose signatures count."""
    from petapter_hub_client.signing.keys import list_own_keys, list_trusted_keys

    own, trusted = list_own_keys(), list_trusted_keys()
    if as_json:
        say_json({"own": [_own_json(key) for key in own], "trusted": [_trusted_json(key) for key in trusted]})
        return
    signs = {key.fingerprint: "yes, with a passphrase" if key.has_passphrase else "yes" for key in own}
    rows = [(key.name, key.fingerprint, _state(key), signs.pop(key.fingerprint, "-")) for key in trusted]
    rows += [
        (key.name, key.fingerprint, "not trusted", signs[key.fingerprint]) for key in own if key.fingerprint in signs
    ]
    if rows:
        say_table(("key", "fingerprint", "signatures", "signs here"), rows)
    else:
        note("there are no keys: 'petapter keys new NAME' makes one, 'petapter keys trust NAME FILE.pub' adds one")


@app.command()
def trust(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.pub", help="The public half of the key, in PEM.")],
    *,
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="The last day on which its signatures count."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let signatures by somebody's key count; compare its fingerprint with what they tell you first."""
    from petapter_hub_client.signing.keys import trust_key

    key = trust_key(name, file.read_bytes(), None if until is None else until.date())
    if as_json:
        say_json(_trusted_json(key))
    else:
        report(f"trusts {key.name}, {key.fingerprint}{f', until {key.until}' if key.until else ''}")


@app.command()
def revoke(
    name: KnownArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="One line, shown where it matters.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Let no signature by a key count any more, whenever it was made."""
    from petapter_hub_client.signing.keys import revoke_key

    key = revoke_key(name, reason)
    if as_json:
        say_json(_trusted_json(key))
    else:
        report(f"revoked {key.name}: no signature by it counts any more")


@app.command()
def remove(
    name: KnownArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget a key; of an own one, the private file is deleted for ever."""
    from petapter_hub_client.commands.sign import confirm_deletion
    from petapter_hub_client.signing.keys import list_own_keys, remove_key

    if not yes and any(key.name == name for key in list_own_keys()):
        confirm_deletion(name)
    was_own = remove_key(name)
    if as_json:
        say_json({"name": name, "was_own": was_own})
    else:
        report(f"removed {name}{' and deleted its private file' if was_own else ''}")


def _state(key: "TrustedKey") -> str:
    from petapter_hub_client.signing.keys import today

    if key.revoked is not None:
        return f"revoked: {key.revoked}"
    if key.has_expired(today()):
        return f"counted until {key.until}"
    return f"count until {key.until}" if key.until else "count"


def _own_json(key: "OwnKey") -> dict[str, object]:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "path": str(key.path),
        "public_path": str(key.public_path),
        "has_passphrase": key.has_passphrase,
    }


def _trusted_json(key: "TrustedKey") -> dict[str, object]:
    return {
        "name": key.name,
        "fingerprint": key.fingerprint,
        "until": key.until.isoformat() if key.until else None,
        "revoked": key.revoked,
    }
