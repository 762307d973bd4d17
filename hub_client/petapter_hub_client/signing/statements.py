"""Makes signatures of module versions and judges those that came with one, key by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from petapter_hub_client.signing.keys import SHOWN_DIGITS, TrustedKey, today
from petapter_schemas.ed25519 import made_signature, sign_payload
from petapter_schemas.errors import InputError, SignatureError
from petapter_schemas.manifest import Manifest, manifest_digest, parse_manifest
from petapter_schemas.signature import (
    Envelope,
    EnvelopeSignature,
    SignaturePredicate,
    Statement,
    parse_envelope,
    parse_statement,
    write_instant,
)

Verdict = Literal["trusted", "unknown", "expired", "revoked", "broken"]

_MOST_DAYS = 36_500


@dataclass(frozen=True)
class Signed:
    """What a signature is checked against.

    Attributes:
        digest: Of the manifest.
        repo_id: `namespace/name` where the module was found; None of a directory.
    """

    digest: str
    repo_id: str | None = None


@dataclass(frozen=True)
class CheckedSignature:
    """One signature, and what it is worth here.

    Attributes:
        verdict: `trusted`: made by a key that is trusted here, over exactly this version. `unknown`: by a key that is
            not trusted here, so that nothing can be said. `expired`, `revoked`: the key or the signature no longer
            counts. `broken`: it is of something else, or was changed.
        key: The name of the key here; None where it is unknown.
        fingerprint: Of the key; of an unknown one what the file claims, None where it claims nothing.
        signed: When, by the signer's clock; None where nothing can be said.
        detail: One clause for people.
    """

    verdict: Verdict
    key: str | None
    fingerprint: str | None
    signed: str | None
    detail: str


def sign_manifest(
    data: bytes, key: Ed25519PrivateKey, *, repo_id: str | None = None, valid_days: int | None = None
) -> bytes:
    """The file of a signature over the bytes of a manifest.

    Args:
        data: The bytes of petapter.json.
        key: Signs.
        repo_id: `namespace/name` that the signature is for; None for any.
        valid_days: After how many days the signature shall no longer count; None for never.

    Raises:
        InputError: `valid_days` is less than a day or more than a hundred years.
        ModuleError: That is no manifest.
    """
    if valid_days is not None and not 1 <= valid_days <= _MOST_DAYS:
        raise InputError(f"a signature can be valid for 1 to {_MOST_DAYS} days, not {valid_days}")
    manifest: Manifest = parse_manifest(data)
    now = datetime.now(UTC)
    predicate = SignaturePredicate(
        module=manifest.name,
        version=manifest.version,
        repository=repo_id,
        signed=write_instant(now),
        expires=None if valid_days is None else write_instant(now + timedelta(days=valid_days)),
    )
    payload = Statement.about(manifest_digest(data), predicate).to_bytes()
    return sign_payload(payload, key).to_bytes()


def check_signature_file(
    data: bytes, signed: Signed, keys: Sequence[TrustedKey], *, source: str
) -> list[CheckedSignature]:
    """Judge every signature of an envelope; what cannot be read at all is one broken signature.

    Args:
        data: The file.
        signed: What it should be about.
        keys: The keys that are trusted here.
        source: The file's name, for people.
    """
    try:
        envelope = parse_envelope(data, source=source)
        signed_bytes = envelope.signed_bytes
    except SignatureError as error:
        return [CheckedSignature("broken", None, None, None, str(error))]
    return [_judge(envelope, each, signed_bytes, signed, keys) for each in envelope.signatures]


def _judge(
    envelope: Envelope, signature: EnvelopeSignature, signed_bytes: bytes, signed: Signed, keys: Sequence[TrustedKey]
) -> CheckedSignature:
    claimed = signature.keyid or None
    candidates = [key for key in keys if claimed in {None, key.fingerprint}]
    if not candidates:
        shown = (claimed or "")[:SHOWN_DIGITS]
        detail = f"by a key that is not trusted here ({shown})"
        return CheckedSignature("unknown", None, claimed, None, detail)
    try:
        key = _maker(candidates, signature.raw, signed_bytes)
    except SignatureError as error:
        return CheckedSignature("broken", None, claimed, None, str(error))
    if key is None:
        if claimed is None:
            return CheckedSignature("unknown", None, None, None, "by a key that is not trusted here")
        found = candidates[0]
        detail = f"it names the key {found.name!r}, which did not make it: it was changed, or what it signs was"
        return CheckedSignature("broken", found.name, found.fingerprint, None, detail)
    return _judge_statement(envelope, key, signed)


def _maker(keys: Sequence[TrustedKey], raw: bytes, signed_bytes: bytes) -> TrustedKey | None:
    """Which key made a signature."""
    return next((key for key in keys if made_signature(key.public_key, raw, signed_bytes)), None)


def _judge_statement(envelope: Envelope, key: TrustedKey, signed: Signed) -> CheckedSignature:
    """What a key said, now that it is known to have said it."""
    try:
        statement = parse_statement(envelope, source="the statement")
    except SignatureError as error:
        return CheckedSignature("broken", key.name, key.fingerprint, None, str(error))
    verdict, detail = _worth(statement, key, signed)
    return CheckedSignature(verdict, key.name, key.fingerprint, statement.predicate.signed, detail)


def _worth(statement: Statement, key: TrustedKey, signed: Signed) -> tuple[Verdict, str]:
    said = statement.predicate
    if statement.manifest_sha256 != signed.digest:
        return "broken", f"it is of {said.module} {said.version} with other content"
    if said.repository is not None and signed.repo_id not in {None, said.repository}:
        return "broken", f"it was made for {said.repository}, not for {signed.repo_id}"
    if key.revoked is not None:
        return "revoked", f"the key {key.name!r} was revoked: {key.revoked}"
    if key.has_expired(today()):
        return "expired", f"the key {key.name!r} was trusted until {key.until}"
    if said.is_over(datetime.now(UTC)):
        return "expired", f"the signature by {key.name!r} was valid until {said.expires}"
    return "trusted", f"signed by {key.name!r} on {said.signed}"
