# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter sign`: a signature of a module, kept in its directory or beside the published version."""

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import JsonOption, TrustConfigOption
from petapter_hub_client.output import hush_huggingface, report, say_json
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter_hub_client.signing.keys import OwnKey


def sign(  # noqa: PLR0913 (a command's options)
    module: Annotated[
        str,
        typer.Argument(metavar="MODULE", help="A module directory, or a version on a remote to sign as it is there."),
    ],
    to: Annotated[
        str | None,
        typer.Argument(metavar="REFERENCE", help="Where this directory is published: the signature is added there."),
    ] = None,
    *,
    key: Annotated[
        str | None, typer.Option("--key", metavar="NAME", help="Which key signs. Default: the only one.")
    ] = None,
    valid_days: Annotated[
        int | None, typer.Option("--valid-days", metavar="N", help="After how many days it no longer counts.")
    ] = None,
    ec_key: Annotated[
        Path | None,
        typer.Option("--ec-key", metavar="FILE", help="Sign in the format of OpenSSF Model Signing by this key (PEM)."),
    ] = None,
    sigstore: Annotated[
        bool, typer.Option("--sigstore", help="Likewise without a key: by an identity, through Sigstore.")
    ] = False,
    trust_config: TrustConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a module, every byte of which is checked first; a published version stays as it is."""
    from petapter_hub_client.fetching import is_local_module
    from petapter_hub_client.signing import verbs

    hush_huggingface()
    if ec_key is not None or sigstore or trust_config is not None:
        if key is not None or valid_days is not None or (ec_key is not None) == sigstore:
            raise InputError("give one of --key, --ec-key and --sigstore; --valid-days is for --key alone")
        _sign_bundle(module, to, ec_key, trust_config, as_json=as_json)
        return
    options = verbs.SignOptions(key, ask_passphrase, valid_days)
    if is_local_module(module):
        made = verbs.sign(Path(module), to, options=options)
    elif to is not None:
        raise InputError(f"{module!r} is no directory: give the module's directory first, then where it is published")
    else:
        made = verbs.sign_published(module, options=options)
    if as_json:
        say_json({**asdict(made), "path": str(made.path) if made.path else None})
        return
    report(f"signed {made.name} with key {made.key}")
    if made.path is not None:
        report(f"wrote {made.path}")
    if made.reference is not None:
        report(f"{made.reference} {'had a signature by this key already' if made.was_there else 'bears the signature'}")


def _sign_bundle(module: str, to: str | None, ec_key: Path | None, trust_config: Path | None, *, as_json: bool) -> None:
    from petapter_hub_client.signing.bundle_verbs import sign_with_bundle
    from petapter_hub_client.signing.bundles import KeySigner, SigstoreSigner
    from petapter_hub_client.signing.keys import PASSPHRASE_VARIABLE

    signer: KeySigner | SigstoreSigner = SigstoreSigner(trust_config)
    if ec_key is not None:
        signer = KeySigner(ec_key, os.environ.get(PASSPHRASE_VARIABLE))
    made = sign_with_bundle(module, to, signer)
    if as_json:
        say_json({**asdict(made), "path": str(made.path) if made.path else None})
        return
    report(f"signed {made.name} in the format of OpenSSF Model Signing")
    if made.path is not None:
        report(f"wrote {made.path}")
    if made.reference is not None:
        report(f"{made.reference} bears the signature")


def new_passphrase() -> str:
    """The passphrase of a new key: of the variable, else asked for twice."""
    from petapter_hub_client.signing.keys import PASSPHRASE_VARIABLE

    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise InputError(f"a passphrase is asked for on a terminal alone: set {PASSPHRASE_VARIABLE}")
    return str(typer.prompt("Passphrase of the new key", hide_input=True, confirmation_prompt=True, err=True))


def confirm_deletion(name: str) -> None:
    """Ask before a private key is deleted.

    Raises:
        InputError: Nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise InputError(f"the private key {name!r} would be deleted for ever: give --yes where nobody can be asked")
    typer.confirm(f"Delete the private key {name!r} for ever?", abort=True, err=True)


def ask_passphrase(key: "OwnKey") -> str | None:
    """The passphrase of an own key: of the variable, else asked for; None where nobody can be asked."""
    from petapter_hub_client.signing.keys import PASSPHRASE_VARIABLE

    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        return None
    return str(typer.prompt(f"Passphrase of key {key.name!r}", hide_input=True, err=True))
