"""What a remote's policy asks of a module before it is used: the one place that refuses for want of a signature."""

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from petapter_hub_client.cache import CachedRepository
from petapter_hub_client.hub import Hub
from petapter_hub_client.remotes import AllowedKey, Policy, find_policy, find_remote, set_policy
from petapter_hub_client.signing.keys import SHOWN_DIGITS, find_trusted_key, list_trusted_keys
from petapter_hub_client.signing.statements import CheckedSignature, Signed, check_signature_file
from petapter_hub_client.signing.stored import Files, cached_signatures, fetch_signatures
from petapter_schemas.errors import InputError, SignatureError
from petapter_schemas.references import Reference

_PATTERN = re.compile(r"[A-Za-z0-9._*?-]+/[A-Za-z0-9._*?-]+")


def require_accepted(
    reference: Reference, signed: Signed, repository: CachedRepository, ask: Callable[[], Hub] | None
) -> None:
    """Refuse a module of a remote whose policy asks for a signature that it lacks.

    Signatures that are in the cache already are looked at first, so that a module that was accepted once is so offline.

    Args:
        reference: With its remote; for messages.
        signed: The version, and where it was found.
        repository: Its part of the cache.
        ask: Reaches the remote; None to ask nobody.

    Raises:
        SignatureError: The policy accepts none of its signatures.
        RemoteError: The remote said no, or nothing.
    """
    policy = find_policy(reference.remote)
    if not policy.asks_for_signatures:
        return
    problem = _problem(policy, signed, cached_signatures(repository, signed.digest))
    if problem is not None and ask is not None:
        problem = _problem(policy, signed, fetch_signatures(ask(), reference.repo_id, signed.digest, repository))
    if problem is not None:
        raise SignatureError(
            f"{reference} must not be used, by the policy of remote {reference.remote!r}: {problem} (see 'petapter "
            f"remote policy {reference.remote}')"
        )


def policy_problem(policy: Policy, repo_id: str, signatures: Sequence[CheckedSignature]) -> str | None:
    """Why a policy does not accept a module with these signatures, and what to do; None where it does."""
    if not policy.asks_for_signatures:
        return None
    good = [signature for signature in signatures if signature.verdict == "trusted"]
    allowed = {each.key for each in policy.allowed if fnmatchcase(repo_id, each.modules)}
    if policy.allowed and not allowed:
        return f"no key may sign {repo_id}; allow one with --allow '{repo_id}=KEY'"
    if [signature for signature in good if not policy.allowed or signature.fingerprint in allowed]:
        return None
    if good:
        return f"the key {good[0].key!r} may not sign {repo_id}; allow it with --allow '{repo_id}={good[0].key}'"
    if not signatures:
        return "it has no signature; ask whoever publishes it to run 'petapter sign'"
    return f"{signatures[0].detail}{_remedy(signatures[0])}"


def parse_allowed(text: str) -> AllowedKey:
    """Read `PATTERN=KEY`: a pattern of `namespace/name`, or of a namespace alone, and a trusted key.

    Raises:
        InputError: It is not of that form, or there is no such key.
    """
    pattern, equals, key = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} names no key: write PATTERN=KEY, for example 'team/*=ada'")
    return AllowedKey(modules=_checked_pattern(pattern), key=find_trusted_key(key).fingerprint)


def change_policy(
    remote: str | None,
    *,
    require_signature: bool | None = None,
    allow: Sequence[str] = (),
    disallow: Sequence[str] = (),
) -> Policy:
    """Change what a remote, the default one unless named, must prove of its modules.

    Args:
        remote: Its name.
        require_signature: Whether a trusted key must have signed each; None leaves that as it is.
        allow: Keys that may sign, as `parse_allowed` reads them; they are added.
        disallow: Patterns whose keys may no longer, or one of them as `PATTERN=KEY`.

    Raises:
        InputError: There is no such remote or key, or nothing that `disallow` names.
    """
    old = find_policy(remote)
    left = [each for each in old.allowed if not any(_means(text, each) for text in disallow)]
    for text in disallow:
        if not any(_means(text, each) for each in old.allowed):
            name = find_remote(remote).name
            raise InputError(f"the policy of {name!r} has no {text!r}: see 'petapter remote policy {name}'")
    added = [each for each in map(parse_allowed, allow) if each not in left]
    required = old.require_signature if require_signature is None else require_signature
    return set_policy(remote, Policy(require_signature=required, allowed=(*left, *added)))


def check_files(files: Files, signed: Signed) -> list[CheckedSignature]:
    """Judge all signatures of a version by the keys that are trusted here."""
    keys = list_trusted_keys()
    return [each for name, data in files.items() for each in check_signature_file(data, signed, keys, source=name)]


def key_name(fingerprint: str) -> str:
    """What a key is called here, else how its fingerprint begins."""
    named = (key.name for key in list_trusted_keys() if key.fingerprint == fingerprint)
    return next(named, fingerprint[:SHOWN_DIGITS])


def _problem(policy: Policy, signed: Signed, files: Files) -> str | None:
    return policy_problem(policy, signed.repo_id or "", check_files(files, signed))


def _remedy(signature: CheckedSignature) -> str:
    if signature.verdict == "unknown":
        return "; if you know whose it is, 'petapter keys trust NAME FILE.pub'"
    if signature.verdict == "broken":
        return "; do not use it, and tell whoever publishes it"
    return "; ask whoever publishes it for a new signature"


def _checked_pattern(pattern: str) -> str:
    whole = pattern if "/" in pattern else f"{pattern}/*"
    if not _PATTERN.fullmatch(whole):
        raise InputError(f"{pattern!r} is no pattern of modules: write for example team, 'team/*' or 'team-*/news'")
    return whole


def _means(text: str, allowed: AllowedKey) -> bool:
    pattern, equals, key = text.partition("=")
    if _checked_pattern(pattern) != allowed.modules:
        return False
    return not equals or allowed.key == find_trusted_key(key).fingerprint
