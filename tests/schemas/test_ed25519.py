"""Keys, and envelopes that they sign; what RFC 8032 promises of Ed25519 is cryptography's to keep."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from petapter_schemas.ed25519 import (
    fingerprint_of,
    is_signed_by,
    new_key_pem,
    public_pem,
    read_private_key,
    read_public_key,
    sign_payload,
)
from petapter_schemas.errors import InputError, SignatureError
from petapter_schemas.signature import Envelope, parse_envelope

PEM = serialization.Encoding.PEM


def test_envelope_is_signed_by_its_key_alone() -> None:
    key, other = (read_private_key(new_key_pem(), source="key") for _ in range(2))
    envelope = parse_envelope(sign_payload(b'{"a":1}', key).to_bytes(), source="it")
    assert envelope.signatures[0].keyid == fingerprint_of(key.public_key())
    assert is_signed_by(envelope, read_public_key(public_pem(key.public_key())))
    assert not is_signed_by(envelope, other.public_key())


@pytest.mark.parametrize(
    ("field", "value"), [("payload", "eyJhIjoyfQ=="), ("payloadType", "application/json"), ("sig", "AAAA")]
)
def test_changed_envelope_is_signed_by_nobody(field: str, value: str) -> None:
    key = read_private_key(new_key_pem(), source="key")
    document = json.loads(sign_payload(b'{"a":1}', key).to_bytes())
    if field == "sig":
        document["signatures"][0]["sig"] = value
    else:
        document[field] = value
    assert not is_signed_by(Envelope.model_validate(document), key.public_key())


def test_signature_that_is_no_base64_is_refused() -> None:
    key = read_private_key(new_key_pem(), source="key")
    document = json.loads(sign_payload(b"{}", key).to_bytes())
    document["signatures"][0]["sig"] = "%"
    with pytest.raises(SignatureError, match="a signature is no base64"):
        is_signed_by(Envelope.model_validate(document), key.public_key())


def test_file_that_holds_no_key_is_refused_by_name() -> None:
    curve = generate_private_key(SECP256R1())
    locked = read_private_key(new_key_pem(), source="key").private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    plain = curve.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for data, said in ((b"", "no private key in PEM"), (plain, "no Ed25519 key"), (locked, "has a passphrase")):
        with pytest.raises(InputError, match=f"^worker.pem .*{said}"):
            read_private_key(data, source="worker.pem")
    public = curve.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for data, said in ((b"", "no public key in PEM"), (public, "of another kind")):
        with pytest.raises(InputError, match=said):
            read_public_key(data)
