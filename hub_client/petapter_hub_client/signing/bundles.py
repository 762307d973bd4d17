# ruff: noqa: PLC0415 (model-signing is an extra, and takes a second to import)
"""Signatures in the format of OpenSSF Model Signing, which other tools make and verify too; alone knows model-signing.

https://github.com/sigstore/model-transparency: a Sigstore bundle around an in-toto statement that lists a digest for
each file. Here petapter.json must be among them: every other byte of a module is pinned by it, and is checked first.
By an elliptic-curve key, or keyless: Sigstore's certificate says which identity signed, and its log when.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from petapter_hub_client.signing.stored import BUNDLES_FOLDER
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import InputError, PetapterError, RemoteUnreachableError, SignatureError
from petapter_schemas.manifest import MANIFEST_FILE, manifest_digest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.signature import MAX_SIGNATURE_BYTES, SIGNATURES_FOLDER

if TYPE_CHECKING:
    from model_signing.signing import Config as Signing
    from model_signing.verifying import Config as Verifying

MODEL_SIGNING_FILE = "model.sig"
"""Where other tools put a signature by default: beside the files that it is of."""

_NEEDED = ("model_signing", "sigstore", "OpenSSL")
_PUBLIC_INSTANCE = "the public Sigstore, or the one of --trust-config,"


@dataclass(frozen=True)
class KeySigner:
    """An elliptic-curve key (P-256, P-384 or P-521) in a file of PEM."""

    key: Path
    passphrase: str | None = None


@dataclass(frozen=True)
class KeyVerifier:
    """The public half of such a key, in a file of PEM."""

    key: Path

    @property
    def name(self) -> str:
        """For people."""
        return f"the key {self.key}"


@dataclass(frozen=True)
class SigstoreSigner:
    """Whoever this is by the word of a CI system or, in a browser, of an identity provider.

    Attributes:
        trust_config: Of a Sigstore of one's own; None for the public one.
    """

    trust_config: Path | None = None


@dataclass(frozen=True)
class SigstoreVerifier:
    """An identity, for example a mail address or a workflow's URL, and who vouches for it, by its URL."""

    identity: str
    issuer: str
    trust_config: Path | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.identity} (by {self.issuer})"


@dataclass(frozen=True)
class Bundle:
    """A signature that was made.

    Attributes:
        digest: Of the manifest.
        file: What its file is called, by the key or the certificate that made it.
        data: The bundle, as JSON.
    """

    digest: str
    file: str
    data: bytes


def sign_bundle(module: Path, signer: KeySigner | SigstoreSigner) -> Bundle:
    """Sign a module directory, every byte of which is checked first: petapter.json and the files that it lists.

    Raises:
        PetapterError: The extra `model-signing` is not installed.
        InputError: The key or the trust configuration cannot be used.
        ModuleError: The directory is no valid module.
        RemoteUnreachableError: Sigstore does not answer, or does not take the identity.
    """
    _require_extra()
    manifest = verify_directory(module)
    with tempfile.TemporaryDirectory(prefix="petapter-sign-") as folder:
        copy, out = Path(folder) / manifest.name, Path(folder) / "made.json"
        for path in (MANIFEST_FILE, *(file.path for file in manifest.files)):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module / path, copy / path)
        signing = _signing(signer)
        with _asking_sigstore():
            signing.sign(copy, out)
        data = out.read_bytes()
    if len(data) > MAX_SIGNATURE_BYTES:
        raise InputError(f"the signature has {len(data)} bytes, more than the {MAX_SIGNATURE_BYTES} allowed")
    digest = manifest_digest((module / MANIFEST_FILE).read_bytes())
    return Bundle(digest, f"{_maker(json.loads(data))}.json", data)


def verify_bundle(module: Path, signature: Path, verifier: KeyVerifier | SigstoreVerifier) -> None:
    """Check that a signature is by a key or an identity, and over this module; every byte must be checked before.

    Files of the directory that are not signed are passed over, as they are not the module's.

    Raises:
        PetapterError: The extra `model-signing` is not installed.
        InputError: The key, the trust configuration or the file cannot be used.
        SignatureError: It is by somebody else, of something else, or was changed.
        RemoteUnreachableError: What Sigstore's certificates are checked by cannot be fetched.
    """
    _require_extra()
    document = _read_bundle(signature)
    statement = _statement(document, signature)
    verifying = _verifying(verifier)
    if _method(statement) == "files":
        verifying.set_ignore_unsigned_files(True)
    try:
        with _asking_sigstore():
            verifying.verify(module, signature)
    except (ValueError, KeyError, TypeError, InvalidSignature) as error:
        raise SignatureError(
            f"{signature.name} does not hold for {verifier.name} and {module}: {_why(error)}; do not use it before "
            "whoever published it has looked"
        ) from error
    if MANIFEST_FILE not in _signed_names(statement):
        raise SignatureError(f"{signature.name} is not of {MANIFEST_FILE}, so that it says nothing of the module")


def bundles_beside(module: Path, digest: str) -> list[Path]:
    """The files of such signatures in a module directory: ours, and the one of other tools."""
    found = sorted((module / SIGNATURES_FOLDER / digest / BUNDLES_FOLDER).glob("*.json"))
    other = module / MODEL_SIGNING_FILE
    return [*found, other] if other.is_file() else found


def write_bundle(module: Path, bundle: Bundle) -> Path:
    """Put a signature into a module directory, where readers of modules pass over it."""
    path = module / bundle_path(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file_durably(path, bundle.data)
    return path


def bundle_path(bundle: Bundle) -> str:
    """Where it lies in a module directory and on the branch of signatures."""
    return f"{SIGNATURES_FOLDER}/{bundle.digest}/{BUNDLES_FOLDER}/{bundle.file}"


def _require_extra() -> None:
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise PetapterError(
            f"signatures of this kind need {missing[0]}: pip install 'petapter[model-signing]', or sign with a key of "
            "'petapter keys'"
        )


def _signing(signer: KeySigner | SigstoreSigner) -> "Signing":
    from model_signing import hashing
    from model_signing.signing import Config

    passed_over = hashing.Config().set_ignored_paths(paths=[SIGNATURES_FOLDER, MODEL_SIGNING_FILE])
    config = Config().set_hashing_config(passed_over)
    if isinstance(signer, SigstoreSigner):
        with _asking_sigstore():
            return config.use_sigstore_signer(
                use_ambient_credentials=True, trust_config=_checked_trust(signer.trust_config)
            )
    secret: Any = signer.passphrase.encode() if signer.passphrase else None  # typed as str, and used as bytes (1.1.1)
    try:
        return config.use_elliptic_key_signer(private_key=signer.key, password=secret)
    except (ValueError, TypeError, UnsupportedAlgorithm, AttributeError) as error:
        raise InputError(
            f"{signer.key} cannot sign: {_why(error)}; give a private key of P-256, P-384 or P-521 in PEM, and its "
            "passphrase, if it has one, in PETAPTER_KEY_PASSPHRASE"
        ) from error


def _verifying(verifier: KeyVerifier | SigstoreVerifier) -> "Verifying":
    from model_signing.verifying import Config

    if isinstance(verifier, SigstoreVerifier):
        with _asking_sigstore():
            return Config().use_sigstore_verifier(
                identity=verifier.identity,
                oidc_issuer=verifier.issuer,
                trust_config=_checked_trust(verifier.trust_config),
            )
    try:
        return Config().use_elliptic_key_verifier(public_key=verifier.key)
    except (ValueError, UnsupportedAlgorithm, AttributeError) as error:
        raise InputError(
            f"{verifier.key} cannot verify: {_why(error)}; give a public key of P-256, P-384 or P-521 in PEM"
        ) from error


def _checked_trust(path: Path | None) -> Path | None:
    """Of a file that cannot be read sigstore's own words say nothing to a user."""
    from sigstore.models import ClientTrustConfig

    if path is not None:
        try:
            ClientTrustConfig.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, KeyError) as error:
            raise InputError(f"{path} is no trust configuration of a Sigstore: {_why(error)}") from error
    return path


@contextmanager
def _asking_sigstore() -> Iterator[None]:
    """Tell errors of Sigstore's services in our words; what is wrong with a signature goes on to the caller."""
    from requests.exceptions import RequestException
    from sigstore.errors import Error, VerificationError
    from sigstore.models import InvalidBundle
    from sigstore.oidc import ExpiredIdentity, IdentityError, IssuerError

    try:
        yield
    except (VerificationError, InvalidBundle) as error:
        raise ValueError(str(error)) from error
    except (Error, RequestException, IssuerError, IdentityError, ExpiredIdentity) as error:
        raise RemoteUnreachableError(
            f"{_PUBLIC_INSTANCE} cannot be used ({_why(error)}): check the network, or use a key with --ec-key"
        ) from error


def _read_bundle(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as stream:
        data = stream.read(MAX_SIGNATURE_BYTES + 1)
    try:
        document = json.loads(data) if len(data) <= MAX_SIGNATURE_BYTES else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("dsseEnvelope"), dict):
        raise SignatureError(f"{path} is no Sigstore bundle with a signed statement")
    return document


def _statement(document: Mapping[str, Any], source: Path) -> Mapping[str, Any]:
    """What is signed, not to be believed before it is verified."""
    try:
        statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"], validate=True))
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"{source} is no Sigstore bundle with a signed statement") from error
    if not isinstance(statement, dict) or not isinstance(statement.get("predicate", {}), dict):
        raise SignatureError(f"{source} signs something else than the files of a model")
    return statement


def _method(statement: Mapping[str, Any]) -> str:
    """How files are told: whole, or in shards. Signatures from before version 1 do not say: whole."""
    serialization = statement.get("predicate", {}).get("serialization")
    return str(serialization.get("method")) if isinstance(serialization, dict) else "files"


def _signed_names(statement: Mapping[str, Any]) -> set[str]:
    """The files that a verified statement is of; shards are `name:begin:end`."""
    listed = statement.get("predicate", {}).get("resources") or statement.get("subject", [])
    names = {str(each["name"]) for each in listed}
    return names if _method(statement) == "files" else {name.rsplit(":", 2)[0] for name in names}


def _maker(document: Mapping[str, Any]) -> str:
    """What names the signature's file: sha256 of the certificate, or of the public key as model-signing tells it."""
    material = document["verificationMaterial"]
    if "publicKey" in material:
        return str(material["publicKey"]["hint"])
    certificate = material.get("certificate") or material["x509CertificateChain"]["certificates"][0]
    return sha256_bytes(base64.b64decode(certificate["rawBytes"]))


def _why(error: Exception) -> str:
    """The first line of a foreign error, and no more of it than a line holds."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200].rstrip(". ")
