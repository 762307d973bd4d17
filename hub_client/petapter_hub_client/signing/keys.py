"""The user's keys and the keys they trust; alone knows `<config>/keys/` and trusted_keys.json.

<config>/keys/NAME.pem      an own key: Ed25519, PKCS #8, encrypted where it has a passphrase; mode 600
<config>/keys/NAME.pub      its public half, to give away: SubjectPublicKeyInfo
<config>/trusted_keys.json  the public keys whose signatures count, until when, and which of them no longer do
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from petapter_hub_client.places import config_directory
from petapter_hub_client.private_files import write_private_file
from petapter_hub_client.settings_files import changing_settings, read_settings
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.durable import write_file_durably
from petapter_schemas.ed25519 import MAX_KEY_BYTES, fingerprint_of, public_der, public_pem, read_public_key
from petapter_schemas.errors import InputError
from petapter_schemas.frozen import Frozen
from petapter_schemas.names import check_name

KEYS_FOLDER = "keys"
TRUSTED_FILE = "trusted_keys.json"
PASSPHRASE_VARIABLE = "PETAPTER_KEY_PASSPHRASE"  # noqa: S105 (the name of a variable)
"""The passphrase of the key that signs, where nobody can be asked."""

SHOWN_DIGITS = 16
"""Of a fingerprint, where people read it; as many at least must be given to name a key by it."""

_WRONG_PASSPHRASE = "the passphrase is wrong"  # noqa: S105 (words)


@dataclass(frozen=True)
class OwnKey:
    """A key that this user signs with.

    Attributes:
        name: What it is called here.
        fingerprint: sha256 of its public half (DER of SubjectPublicKeyInfo), in hex.
        path: The private file.
        public_path: What to give to those who shall trust it.
        has_passphrase: Whether the private file is encrypted.
    """

    name: str
    fingerprint: str
    path: Path
    public_path: Path
    has_passphrase: bool


@dataclass(frozen=True)
class TrustedKey:
    """A public key whose signatures count.

    Attributes:
        name: What it is called here.
        fingerprint: As of an own key.
        public_key: Verifies.
        until: The last day on which its signatures count; None for no end.
        revoked: Why they no longer do; None while they do.
    """

    name: str
    fingerprint: str
    public_key: Ed25519PublicKey
    until: date | None
    revoked: str | None

    def has_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.until is not None and today > self.until


class _Entry(Frozen):
    """A trusted key in the file; the public half as base64 of its DER."""

    public_key: str
    until: date | None = None
    revoked: str | None = None


class _Document(Frozen):
    """trusted_keys.json: keys by name."""

    keys: dict[str, _Entry] = Field(default_factory=dict)


def make_key(name: str, passphrase: str | None = None) -> OwnKey:
    """Make a key to sign with, and trust it here.

    Raises:
        InputError: The name is taken or not allowed.
    """
    check_name(name, what="key name")
    secret = Ed25519PrivateKey.generate()
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    private = secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    with changing_settings(TRUSTED_FILE):
        document = _read()
        if name in document.keys or _private_path(name).exists():
            raise InputError(f"there is a key {name!r} already: choose another name (see 'petapter keys list')")
        folder = _private_path(name).parent
        folder.mkdir(exist_ok=True, mode=0o700)
        write_private_file(_private_path(name), private)
        write_file_durably(_public_path(name), public_pem(secret.public_key()))
        _write(document, name, _Entry(public_key=_text(secret.public_key())))
    return find_own_key(name)


def list_own_keys() -> tuple[OwnKey, ...]:
    """The keys that this user signs with, by name."""
    folder = config_directory() / KEYS_FOLDER
    return tuple(_own(path.stem) for path in sorted(folder.glob("*.pem"))) if folder.is_dir() else ()


def find_own_key(name: str | None) -> OwnKey:
    """The own key of a name, or the only one there is.

    Raises:
        InputError: There is none of that name, or none or several without one.
    """
    keys = list_own_keys()
    if name is None:
        if len(keys) == 1:
            return keys[0]
        if not keys:
            raise InputError("there is no key to sign with: make one with 'petapter keys new NAME'")
        raise InputError(f"there are several keys to sign with ({_names(keys)}): say which with --key")
    for key in keys:
        if key.name == name:
            return key
    known = f"own keys: {_names(keys)}" if keys else "there are none"
    raise InputError(
        f"there is no own key {name!r} ({known}): make it with 'petapter keys new {name}'"
        f"{did_you_mean(name, [key.name for key in keys])}"
    )


def open_private_key(key: OwnKey, passphrase: str | None) -> Ed25519PrivateKey:
    """Read a private key.

    Raises:
        InputError: The passphrase is missing or wrong, or the file is no such key.
    """
    if key.has_passphrase and not passphrase:
        raise InputError(f"key {key.name!r} has a passphrase: set {PASSPHRASE_VARIABLE} where nobody can be asked")
    secret = passphrase.encode() if key.has_passphrase and passphrase else None
    try:
        found = serialization.load_pem_private_key(_bytes(key.path), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        problem = _WRONG_PASSPHRASE if key.has_passphrase else "it is no private key in PEM"
        raise InputError(f"{key.path} cannot be opened: {problem}") from error
    if not isinstance(found, Ed25519PrivateKey):
        raise InputError(f"{key.path} is no Ed25519 key: make one with 'petapter keys new'")
    return found


def list_trusted_keys() -> tuple[TrustedKey, ...]:
    """The keys whose signatures count, and those that were revoked here.

    Raises:
        InputError: trusted_keys.json is broken.
    """
    return tuple(_trusted(name, entry) for name, entry in _read().keys.items())


def find_trusted_key(name: str, keys: Sequence[TrustedKey] | None = None) -> TrustedKey:
    """A trusted key by its name or by how its fingerprint begins.

    Raises:
        InputError: There is none, or more than one.
    """
    keys = list_trusted_keys() if keys is None else keys
    for key in keys:
        if key.name == name:
            return key
    begins = [key for key in keys if len(name) >= SHOWN_DIGITS and key.fingerprint.startswith(name.lower())]
    if len(begins) == 1:
        return begins[0]
    raise InputError(
        f"there is no trusted key {name!r}: add it with 'petapter keys trust {name} FILE.pub'"
        f"{did_you_mean(name, [key.name for key in keys])}"
    )


def trust_key(name: str, public: bytes, until: date | None = None) -> TrustedKey:
    """Let signatures by a key count; also to give a key that is trusted already another last day.

    Args:
        name: What it shall be called here.
        public: Its public half, as `petapter keys new` wrote it.
        until: The last day; None for no end.

    Raises:
        InputError: That is no Ed25519 public key, the name is another key's, or the key was revoked.
    """
    check_name(name, what="key name")
    key = read_public_key(public)
    fingerprint = fingerprint_of(key)
    with changing_settings(TRUSTED_FILE):
        document = _read()
        for known in (_trusted(*item) for item in document.keys.items()):
            if known.name == name and known.fingerprint != fingerprint:
                raise InputError(f"{name!r} is another key already ({known.fingerprint[:SHOWN_DIGITS]}): choose a name")
            if known.fingerprint == fingerprint and (known.name != name or known.revoked):
                state = f"was revoked here ({known.revoked})" if known.revoked else "is trusted already"
                raise InputError(
                    f"that key {state} as {known.name!r}: 'petapter keys remove {known.name}' forgets that"
                )
        _write(document, name, _Entry(public_key=_text(key), until=until))
    return find_trusted_key(name)


def revoke_key(name: str, reason: str) -> TrustedKey:
    """Let no signature by a key count any more, whenever it was made: nobody vouches for the time in it.

    Raises:
        InputError: There is no such key.
    """
    with changing_settings(TRUSTED_FILE):
        document = _read()
        key = find_trusted_key(name, [_trusted(*item) for item in document.keys.items()])
        entry = document.keys[key.name].model_copy(update={"revoked": " ".join(reason.split()) or "no reason given"})
        _write(document, key.name, entry)
    return find_trusted_key(key.name)


def remove_key(name: str) -> bool:
    """Forget a key and, of an own one, delete the private file for ever; whether it was an own one.

    Raises:
        InputError: There is no such key.
    """
    with changing_settings(TRUSTED_FILE):
        document = _read()
        is_own = any(key.name == name for key in list_own_keys())
        if not is_own:
            name = find_trusted_key(name, [_trusted(*item) for item in document.keys.items()]).name
        _write(document, name, None)
        for path in (_private_path(name), _public_path(name)) if is_own else ():
            path.unlink(missing_ok=True)
    return is_own


def today() -> date:
    """The day by UTC, by which keys end."""
    return datetime.now(UTC).date()


def _own(name: str) -> OwnKey:
    path, public_path = _private_path(name), _public_path(name)
    key = read_public_key(_bytes(public_path))
    return OwnKey(name, fingerprint_of(key), path, public_path, b"ENCRYPTED PRIVATE KEY" in _bytes(path))


def _trusted(name: str, entry: _Entry) -> TrustedKey:
    try:
        key = serialization.load_der_public_key(base64.b64decode(entry.public_key, validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{_trusted_path()} is broken: {name!r} has no public key; delete its entry") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{_trusted_path()} is broken: {name!r} is no Ed25519 key; delete its entry")
    return TrustedKey(name, fingerprint_of(key), key, entry.until, entry.revoked)


def _bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_KEY_BYTES)


def _text(key: Ed25519PublicKey) -> str:
    return base64.b64encode(public_der(key)).decode("ascii")


def _names(keys: Sequence[OwnKey]) -> str:
    return ", ".join(key.name for key in keys)


def _private_path(name: str) -> Path:
    return config_directory() / KEYS_FOLDER / f"{name}.pem"


def _public_path(name: str) -> Path:
    return config_directory() / KEYS_FOLDER / f"{name}.pub"


def _trusted_path() -> Path:
    return config_directory() / TRUSTED_FILE


def _read() -> _Document:
    return read_settings(_trusted_path(), _Document(), remedy="correct it or delete it")


def _write(document: _Document, name: str, entry: _Entry | None) -> None:
    keys = {key: value for key, value in document.keys.items() if key != name}
    if entry is not None:
        keys[name] = entry
    write_file_durably(_trusted_path(), _Document(keys=keys).model_dump_json(indent=2).encode() + b"\n")
