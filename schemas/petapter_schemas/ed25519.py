"""Ed25519 keys as client and registry both use them: their fingerprints, signed envelopes, and who made a signature.

Alone among the schemas needs `cryptography`; nothing else here imports this file.
"""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import InputError
from petapter_schemas.signature import PAYLOAD_TYPE, Envelope, pre_authentication

MAX_KEY_BYTES = 16 * 1024
_PKCS8 = serialization.PrivateFormat.PKCS8


def new_key_pem() -> bytes:
    """A new private key, PKCS #8 in PEM, without a passphrase."""
    encryption = serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, _PKCS8, encryption)


def read_private_key(data: bytes, *, source: str) -> Ed25519PrivateKey:
    """A private key in PEM without a passphrase.

    Raises:
        InputError: That is none.
    """
    try:
        key = serialization.load_pem_private_key(data[: MAX_KEY_BYTES + 1], None)
    except TypeError as error:
        raise InputError(f"{source} has a passphrase: nobody could be asked for it; use a key without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{source} is no private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{source} is no Ed25519 key")
    return key


def read_public_key(data: bytes) -> Ed25519PublicKey:
    """A public key in PEM.

    Raises:
        InputError: That is none.
    """
    try:
        key = serialization.load_pem_public_key(data[: MAX_KEY_BYTES + 1])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("that is no public key in PEM: give the .pub file that 'petapter keys new' wrote") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError("that is a public key of another kind: only Ed25519 keys sign modules")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_der(key: Ed25519PublicKey) -> bytes:
    """A public key as SubjectPublicKeyInfo in DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """What a key is recognised by: sha256 of the DER of its SubjectPublicKeyInfo, in hex."""
    return sha256_bytes(public_der(key))


def sign_payload(payload: bytes, key: Ed25519PrivateKey) -> Envelope:
    """A DSSE envelope of a statement with one signature."""
    signature = key.sign(pre_authentication(PAYLOAD_TYPE, payload))
    return Envelope.of(payload, ((fingerprint_of(key.public_key()), signature),))


def made_signature(key: Ed25519PublicKey, raw: bytes, signed_bytes: bytes) -> bool:
    """Whether a key made a signature."""
    try:
        key.verify(raw, signed_bytes)
    except InvalidSignature:
        return False
    return True


def is_signed_by(envelope: Envelope, key: Ed25519PublicKey) -> bool:
    """Whether one of an envelope's signatures was made by a key over exactly its payload.

    Raises:
        SignatureError: The envelope's payload or a signature is no base64.
    """
    signed_bytes = envelope.signed_bytes
    return any(made_signature(key, each.raw, signed_bytes) for each in envelope.signatures)
