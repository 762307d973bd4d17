"""What a signature of a module version is: an in-toto Statement v1 about its manifest, in a DSSE envelope.

Alone knows the bytes that are signed (https://github.com/secure-systems-lab/dsse, protocol.md, version 1.0) and what a
signed statement says (https://github.com/in-toto/attestation, spec/v1). No cryptography: ed25519.py signs and
verifies `pre_authentication`.
"""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from petapter_schemas import strict_json
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import ManifestError, SignatureError
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.messages import first_problem
from petapter_schemas.module_facts import Known
from petapter_schemas.names import ModuleName
from petapter_schemas.sem_ver import SemVer

PAYLOAD_TYPE = "application/vnd.in-toto+json"

SIGNATURES_BRANCH = "signatures"
"""The branch of a repository that holds the signatures of its versions and nothing else."""
SIGNATURES_FOLDER = "signatures"
MAX_SIGNATURE_BYTES = 64 * 1024
MAX_SIGNATURES = 64
"""Files of one module version that are read."""

_FORM = "%Y-%m-%dT%H:%M:%SZ"
_WHAT = "signature of a module"

Signed = TypeVar("Signed", bound=Known)
"""What the JSON of an envelope or of its payload is read as."""


def write_instant(moment: datetime) -> str:
    """A time as statements write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime(_FORM)


def read_instant(text: str) -> datetime:
    """The time that a statement writes so.

    Raises:
        ValueError: There is no such time.
    """
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)


def _checked_instant(text: str) -> str:
    read_instant(text)
    return text


Instant = Annotated[
    str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"), AfterValidator(_checked_instant)
]
_Text = Annotated[str, StringConstraints(max_length=MAX_SIGNATURE_BYTES)]


class DigestSet(Known):
    """in-toto's DigestSet, of which only the sha256 counts here."""

    sha256: Sha256


class Subject(Known):
    """What a statement is about: the manifest, whose digest names every byte of the module version."""

    name: str = MANIFEST_FILE
    digest: DigestSet


class SignaturePredicate(Known):
    """What the signer says of the module version.

    Attributes:
        module: Its name, as in the manifest.
        version: Its version, likewise.
        repository: `namespace/name` that it was signed for; None for any.
        signed: When, by the signer's clock; nobody vouches for it.
        expires: From when on the signature shall no longer count; None for never.
    """

    module: ModuleName
    version: SemVer
    repository: str | None = None
    signed: Instant
    expires: Instant | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it no longer counts."""
        return self.expires is not None and now >= read_instant(self.expires)


class Statement(Known):
    """An in-toto Statement v1 with our predicate; as in-toto asks, unknown fields are passed over."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type", default="https://in-toto.io/Statement/v1")
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Literal["urn:petapter:module-signature:1"] = Field(
        alias="predicateType", default="urn:petapter:module-signature:1"
    )
    predicate: SignaturePredicate

    @property
    def manifest_sha256(self) -> str:
        """The digest of the manifest that is signed."""
        return self.subject[0].digest.sha256

    @classmethod
    def about(cls, manifest_sha256: str, predicate: SignaturePredicate) -> Self:
        """A statement about a module version."""
        return cls(subject=(Subject(digest=DigestSet(sha256=manifest_sha256)),), predicate=predicate)

    def to_bytes(self) -> bytes:
        """The payload to sign."""
        return strict_json.canonical(self.model_dump(mode="json", by_alias=True))


class EnvelopeSignature(Known):
    """One signature over an envelope; `keyid` helps to find the key and decides nothing."""

    keyid: _Text = ""
    sig: _Text

    @property
    def raw(self) -> bytes:
        """The signature's bytes. Raises: SignatureError: They are no base64."""
        return _decoded(self.sig, "a signature")


class Envelope(Known):
    """A DSSE envelope; as DSSE asks, unknown fields are passed over."""

    payload: _Text
    payload_type: _Text = Field(alias="payloadType")
    signatures: Annotated[tuple[EnvelopeSignature, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]

    @classmethod
    def of(cls, payload: bytes, signatures: tuple[tuple[str, bytes], ...]) -> Self:
        """An envelope of a payload with its signatures, each a key's id and bytes."""
        signed = tuple(EnvelopeSignature(keyid=keyid, sig=_encoded(raw)) for keyid, raw in signatures)
        return cls(payload=_encoded(payload), payloadType=PAYLOAD_TYPE, signatures=signed)

    @property
    def raw_payload(self) -> bytes:
        """The signed bytes. Raises: SignatureError: They are no base64."""
        return _decoded(self.payload, "the payload")

    @property
    def signed_bytes(self) -> bytes:
        """What each signature must be over. Raises: SignatureError: The payload is no base64."""
        return pre_authentication(self.payload_type, self.raw_payload)

    def to_bytes(self) -> bytes:
        """The file of the envelope."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2).encode() + b"\n"


def pre_authentication(payload_type: str, body: bytes) -> bytes:
    """DSSE's PAE: the bytes over which a signature is made, from which type and body can be told apart in one way only.

    PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body, lengths in decimal and bytes.
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def parse_envelope(data: bytes, *, source: str) -> Envelope:
    """Read a DSSE envelope.

    Raises:
        SignatureError: It is none, or too long.
    """
    return _parsed(Envelope, data, source)


def parse_statement(envelope: Envelope, *, source: str) -> Statement:
    """What an envelope says; to be believed only after one of its signatures was verified.

    Raises:
        SignatureError: Its payload is no statement about a petapter module.
    """
    return parse_payload(Statement, envelope, source=source)


def parse_payload(model: type[Signed], envelope: Envelope, *, source: str, what: str = _WHAT) -> Signed:
    """The statement of one kind that an envelope holds; to be believed as `parse_statement` says.

    Raises:
        SignatureError: Its payload is none; `what` says for people what it should be.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"{source} holds {envelope.payload_type[:80]!r} and not {PAYLOAD_TYPE!r}")
    return _parsed(model, envelope.raw_payload, source, what)


def signature_path(manifest_sha256: str, fingerprint: str) -> str:
    """Where the signature of a module version by a key lies."""
    return f"{SIGNATURES_FOLDER}/{manifest_sha256}/{fingerprint}.json"


def _parsed(model: type[Signed], data: bytes, source: str, what: str = _WHAT) -> Signed:
    try:
        return model.model_validate(strict_json.loads(data, source=source, max_bytes=MAX_SIGNATURE_BYTES))
    except ManifestError as error:
        raise SignatureError(str(error)) from error
    except ValidationError as error:
        raise SignatureError(f"{source} is no {what}: {first_problem(error)}") from error


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str, what: str) -> bytes:
    """Standard or URL-safe base64, both of which DSSE allows."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{what} is no base64") from error
