# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter verify`: every byte of modules, and what their signatures are worth here."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption, TrustConfigOption
from petapter_hub_client.output import hush_huggingface, note, progress, report, say_json, warn
from petapter_schemas.errors import DigestMismatchError, InputError, RemoteError, SignatureError

if TYPE_CHECKING:
    from petapter_hub_client.cached_modules import CachedModule, CheckedModule
    from petapter_hub_client.signing.bundles import KeyVerifier, SigstoreVerifier
    from petapter_hub_client.signing.verbs import ModuleSignatures


def verify(  # noqa: PLR0913 (a command's options)
    module: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODULE",
            help="Cached modules, without a revision all versions; or module directories.",
            autocompletion=complete_reference,
        ),
    ] = None,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch broken modules again from their remote.")] = False,
    signed: Annotated[
        bool, typer.Option("--signed", help="Also end with code 6 where no trusted key has signed.")
    ] = False,
    ec_key: Annotated[
        Path | None,
        typer.Option("--ec-key", metavar="FILE", help="Ask for an OpenSSF signature by this public key (PEM)."),
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="WHO", help="Ask for a Sigstore signature by this identity.")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="Who vouches for the identity; needed with it.")
    ] = None,
    trust_config: TrustConfigOption = None,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="FILE", help="Of these two. Default: those of the module, and model.sig."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hash all bytes of modules and judge their signatures; broken ones of the cache go to quarantine.

    Without arguments, all cached modules, and no remote is asked. Ends with code 6 if one is broken and was not
    repaired, or has a signature that does not hold, or not one that the policy of its remote asks for.
    """
    hush_huggingface()
    wanted = _Wanted(ec_key, identity, issuer, trust_config, signature)
    if wanted != _Wanted():
        _verify_bundles(module or [], wanted, as_json=as_json)
        return
    directories, references = _told_apart(module or [])
    checked = _checked(references, repair=repair) if references or not directories else []
    found = [_of_directory(directory) for directory in directories]
    found += [_of_cached(one, ask_remote=bool(references)) for one in checked]
    if as_json:
        say_json([_json(one, signatures) for one, signatures in found])
    else:
        _show(found)
    _refuse_broken(checked)
    _refuse_unsigned([signatures for _, signatures in found if signatures is not None], must_be_signed=signed)


@dataclass(frozen=True)
class _Wanted:
    """By whom a signature in the format of OpenSSF Model Signing must be."""

    ec_key: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    trust_config: Path | None = None
    signature: Path | None = None

    def verifier(self) -> "KeyVerifier | SigstoreVerifier":
        from petapter_hub_client.signing.bundles import KeyVerifier, SigstoreVerifier

        if self.ec_key is not None and self.identity is None and self.issuer is None and self.trust_config is None:
            return KeyVerifier(self.ec_key)
        if self.ec_key is None and self.identity is not None and self.issuer is not None:
            return SigstoreVerifier(self.identity, self.issuer, self.trust_config)
        raise InputError(
            "say by whom a signature must be: --ec-key FILE, or --identity WHO with --issuer URL, for example "
            "--identity ada@example.org --issuer https://accounts.google.com"
        )


def _verify_bundles(modules: Sequence[str], wanted: _Wanted, *, as_json: bool) -> None:
    from petapter_hub_client.signing.bundle_verbs import verify_with_bundle

    verifier = wanted.verifier()
    if not modules or (wanted.signature is not None and len(modules) > 1):
        raise InputError("name the module whose signature is to be verified, and with --signature one alone")
    held = [(name, verify_with_bundle(name, verifier, wanted.signature)) for name in modules]
    if as_json:
        say_json([{"module": name, "signed_by": verifier.name, "signature": file} for name, file in held])
    else:
        for name, file in held:
            report(f"{name}  every byte is right; signed by {verifier.name}, {file}")


Found = tuple["CheckedModule | None", "ModuleSignatures | None"]
"""A module of the cache, None of a directory; and its signatures, None where its bytes are broken."""


def _told_apart(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    from petapter_hub_client.fetching import is_local_module

    local = [name for name in names if is_local_module(name)]
    return [Path(name) for name in local], [name for name in names if name not in local]


def _checked(references: Sequence[str], *, repair: bool) -> "list[CheckedModule]":
    from petapter_hub_client.cached_modules import find_cached, list_cached, verify_cached

    modules = [one for name in references for one in find_cached(name)] if references else list_cached()
    with progress("verifying") as on_step:
        done = 0

        def on_module(module: "CachedModule") -> None:
            nonlocal done
            on_step(done, len(modules), module.reference)
            done += 1

        return verify_cached(modules, repair=repair, on_module=on_module)


def _of_directory(directory: Path) -> Found:
    from petapter_hub_client.signing.verbs import check_directory

    return None, check_directory(directory)


def _of_cached(one: "CheckedModule", *, ask_remote: bool) -> Found:
    from petapter_hub_client.signing.verbs import check_cached
    from petapter_schemas.references import Reference

    if one.module.remote is None or (one.problem is not None and not one.was_repaired):
        return one, None
    reference = Reference.parse(one.module.reference)
    try:
        return one, check_cached(reference, one.module.directory, ask_remote=ask_remote)
    except RemoteError as error:
        warn(f"{error}; the signatures that were seen last are looked at")
        return one, check_cached(reference, one.module.directory, ask_remote=False)


def _json(one: "CheckedModule | None", found: "ModuleSignatures | None") -> dict[str, object]:
    about: dict[str, object] = {"directory": found.name if found else None}
    if one is not None:
        about = {
            "reference": one.module.reference,
            "commit": one.module.commit,
            "directory": str(one.module.directory),
        }
    return {
        **about,
        "is_whole": one is None or one.problem is None,
        "problem": one.problem if one else None,
        "quarantine": str(one.quarantine) if one and one.quarantine else None,
        "was_repaired": bool(one and one.was_repaired),
        "signatures": [asdict(signature) for signature in found.signatures] if found else [],
        "policy_problem": found.problem if found else None,
    }


def _show(found: Sequence[Found]) -> None:
    for one, signatures in found:
        if one is not None and one.problem is not None:
            end = "fetched again" if one.was_repaired else f"moved to {one.quarantine}"
            warn(f"{one.module.reference}: {one.problem}; {end}")
        else:
            name = one.module.reference if one is not None else signatures.name if signatures is not None else ""
            report(f"{name}  every byte is right; {_signed(signatures)}")
    if not found:
        note("the cache is empty: there is nothing to verify")


def _signed(found: "ModuleSignatures | None") -> str:
    if found is None or not found.signatures:
        return "no signature"
    return "; ".join(
        signature.detail if signature.verdict == "trusted" else f"a signature that is {signature.verdict}: "
        f"{signature.detail}"
        for signature in found.signatures
    )  # fmt: skip


def _refuse_broken(checked: "Sequence[CheckedModule]") -> None:
    if lost := [one for one in checked if one.problem is not None and not one.was_repaired]:
        remedy = " and ".join(f"'petapter pull {one.module.reference}'" for one in lost)
        raise DigestMismatchError(f"{len(lost)} of {len(checked)} cached modules are broken: run {remedy}")


def _refuse_unsigned(found: "Sequence[ModuleSignatures]", *, must_be_signed: bool) -> None:
    for one in found:
        if one.problem is not None:
            raise SignatureError(f"{one.name} must not be used, by the policy of its remote: {one.problem}")
        if one.is_broken:
            broken = next(signature for signature in one.signatures if signature.verdict == "broken")
            raise SignatureError(
                f"{one.name} has a signature that does not hold ({broken.detail}): do not use it before whoever "
                "published it has looked"
            )
        if must_be_signed and not one.is_signed:
            raise SignatureError(
                f"no key that is trusted here has signed {one.name}: ask whoever publishes it to, or trust their key "
                "with 'petapter keys trust'"
            )
