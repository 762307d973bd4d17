"""Sign: a module directory, and the version on a remote that is the same; and what the signatures of one are worth."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from huggingface_hub import is_offline_mode

from petapter_hub_client.cache import CachedRepository, cached_repository
from petapter_hub_client.cached_modules import find_cached
from petapter_hub_client.fetching import is_local_module, pull_to_sign
from petapter_hub_client.hub import Hub, open_hub, require_token
from petapter_hub_client.remotes import find_policy, find_remote
from petapter_hub_client.resolving import read_remote_manifest, resolve
from petapter_hub_client.signing.keys import OwnKey, find_own_key, list_trusted_keys, open_private_key
from petapter_hub_client.signing.policies import check_files, policy_problem
from petapter_hub_client.signing.statements import CheckedSignature, Signed, check_signature_file, sign_manifest
from petapter_hub_client.signing.stored import (
    Files,
    cached_signatures,
    fetch_signatures,
    publish_signature,
    signatures_beside,
    write_beside,
)
from petapter_hub_client.versions import version_tag
from petapter_schemas.errors import DigestMismatchError, InputError, InvalidReferenceError
from petapter_schemas.manifest import MANIFEST_FILE, manifest_digest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference
from petapter_schemas.signature import signature_path

AskPassphrase = Callable[[OwnKey], str | None]
"""Called for a key that has a passphrase."""


@dataclass(frozen=True)
class SignOptions:
    """How to sign.

    Attributes:
        key: Name of an own key; None for the only one.
        passphrase: Called where the key has one.
        valid_days: After how many days the signature shall no longer count; None for never.
    """

    key: str | None = None
    passphrase: AskPassphrase | None = None
    valid_days: int | None = None


@dataclass(frozen=True)
class SignedModule:
    """A signature that was made.

    Attributes:
        key: The name of the key.
        fingerprint: Of the key.
        digest: Of the manifest that was signed.
        name: Of the module, with its version.
        path: The file, in the module's directory; None where a module of a remote was signed.
        reference: Where it was published; None where it was not.
        was_there: Whether the remote had a signature by this key that counts already; then nothing was sent.
    """

    key: str
    fingerprint: str
    digest: str
    name: str
    path: Path | None
    reference: str | None
    was_there: bool


@dataclass(frozen=True)
class ModuleSignatures:
    """What the signatures of a module version are worth here.

    Attributes:
        name: What was asked about.
        digest: Of its manifest.
        signatures: Each; none where it has none.
        problem: Why the policy of its remote does not accept it; None where it does, or of a directory.
    """

    name: str
    digest: str
    signatures: tuple[CheckedSignature, ...]
    problem: str | None

    @property
    def is_signed(self) -> bool:
        """Whether a trusted key has signed it."""
        return any(signature.verdict == "trusted" for signature in self.signatures)

    @property
    def is_broken(self) -> bool:
        """Whether one of them is of something else, or was changed."""
        return any(signature.verdict == "broken" for signature in self.signatures)


def sign(module: Path, reference: str | None = None, *, options: SignOptions | None = None) -> SignedModule:
    """Sign a module directory, every byte of which is checked first; the file lies beside it, in `signatures/`.

    Args:
        module: Holds petapter.json.
        reference: `[remote:]namespace/name` where this version is published; the signature is added to it there.
        options: By which key.

    Raises:
        InputError: There is no such key, or its passphrase is missing or wrong.
        ModuleError: The directory is no valid module, or the remote's version is another one.
        RemoteError: The remote said no, or nothing.
    """
    options = options or SignOptions()
    manifest = verify_directory(module)
    data = (module / MANIFEST_FILE).read_bytes()
    target = None if reference is None else publish_target(reference, manifest.version)
    hub = None if target is None else writable_hub(target)
    if hub is not None and target is not None:
        require_same(hub, target, data, module)
    made = _Made.of(data, target, options)
    path = write_beside(module, made.digest, made.key.fingerprint, made.file)
    was_there = hub is not None and target is not None and not made.publish(hub, target)
    shown = None if hub is None or target is None else str(Reference(hub.remote.name, target.repo_id, target.revision))
    name = f"{manifest.name} {manifest.version}"
    return SignedModule(made.key.name, made.key.fingerprint, made.digest, name, path, shown, was_there)


def sign_published(reference: str, *, options: SignOptions | None = None) -> SignedModule:
    """Sign a version as it is on a remote: it is pulled, every byte checked, and the signature added to it there.

    The policy of the remote is not asked, so that a first signature can be made.

    Raises: as `sign`.
    """
    options = options or SignOptions()
    parsed = Reference.parse(reference)
    hub = writable_hub(parsed)
    pulled = pull_to_sign(reference)
    made = _Made.of((pulled.directory / MANIFEST_FILE).read_bytes(), parsed, options)
    was_there = not made.publish(hub, parsed)
    name = f"{pulled.manifest.name} {pulled.manifest.version}"
    return SignedModule(made.key.name, made.key.fingerprint, made.digest, name, None, pulled.reference, was_there)


def verify_signatures(module: Path | str) -> ModuleSignatures:
    """Check every byte of a module directory or of a cached module, and what its signatures are worth here.

    Of a cached module the remote is asked which signatures there are, unless remotes must not be asked.

    Raises:
        InputError: A reference is not in the cache, or several of its versions are.
        ModuleError: Its bytes are broken.
        RemoteError: The remote said no, or nothing.
    """
    if isinstance(module, Path) or is_local_module(module):
        return check_directory(Path(module))
    modules = find_cached(module)
    if len(modules) > 1:
        names = ", ".join(one.reference for one in modules)
        raise InputError(f"{module} may be any of {names}: say which")
    (cached,) = modules
    verify_directory(cached.directory)
    return check_cached(Reference.parse(cached.reference), cached.directory, ask_remote=True)


def check_directory(module: Path) -> ModuleSignatures:
    """Check every byte of a module directory and the signatures that lie in it.

    Raises:
        ModuleError: It is no valid module.
    """
    verify_directory(module)
    digest = manifest_digest((module / MANIFEST_FILE).read_bytes())
    found = check_files(signatures_beside(module, digest), Signed(digest))
    return ModuleSignatures(str(module), digest, tuple(found), None)


def check_cached(reference: Reference, directory: Path, *, ask_remote: bool) -> ModuleSignatures:
    """What the signatures of a cached version are worth, every byte of which was checked before.

    Args:
        reference: With its remote.
        directory: Of the version in the cache.
        ask_remote: Ask which signatures there are; else, and offline, those that were seen last count.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    digest = manifest_digest((directory / MANIFEST_FILE).read_bytes())
    repository = cached_repository(find_remote(reference.remote), reference.repo_id)
    files = _seen(reference, digest, repository, ask_remote=ask_remote and not is_offline_mode())
    found = tuple(check_files(files, Signed(digest, reference.repo_id)))
    problem = policy_problem(find_policy(reference.remote), reference.repo_id, found)
    return ModuleSignatures(str(reference), digest, found, problem)


def open_signing_key(name: str | None, ask: AskPassphrase | None) -> tuple[OwnKey, Ed25519PrivateKey]:
    """An own key by its name, or the only one, and its private half; `ask` is called where it has a passphrase.

    Raises:
        InputError: There is no such key, or its passphrase is missing or wrong.
    """
    key = find_own_key(name)
    return key, open_private_key(key, ask(key) if key.has_passphrase and ask is not None else None)


def _seen(reference: Reference, digest: str, repository: CachedRepository, *, ask_remote: bool) -> Files:
    if not ask_remote:
        return cached_signatures(repository, digest)
    return fetch_signatures(open_hub(reference.remote), reference.repo_id, digest, repository)


def publish_target(reference: str, version: str) -> Reference:
    """Where the version of a directory is published. Raises: InvalidReferenceError: The reference means another."""
    parsed = Reference.parse(reference)
    tag = version_tag(version)
    if parsed.revision not in {None, tag}:
        raise InvalidReferenceError(
            f"{reference!r} names another version than the directory, which holds {tag}: leave it out"
        )
    return Reference(parsed.remote, parsed.repo_id, tag)


def writable_hub(reference: Reference) -> Hub:
    """The remote of a reference, for which there is a token. Raises: AuthenticationError."""
    hub = open_hub(reference.remote)
    require_token(hub)
    return hub


def require_same(hub: Hub, target: Reference, data: bytes, module: Path) -> None:
    """Refuse to sign for a published version what a directory holds where these differ. Raises: DigestMismatchError."""
    published = read_remote_manifest(hub, resolve(hub, target))
    if published != data:
        raise DigestMismatchError(
            f"{target} on remote {hub.remote.name!r} is not what {module} holds ({manifest_digest(published)[:12]} and "
            f"{manifest_digest(data)[:12]}): sign what you published, or push it as a new version"
        )


@dataclass(frozen=True)
class _Made:
    """A signature of a version that was just made, and whether one that is there already will not do."""

    digest: str
    key: OwnKey
    file: bytes
    renews: bool

    @classmethod
    def of(cls, data: bytes, target: Reference | None, options: SignOptions) -> Self:
        key, secret = open_signing_key(options.key, options.passphrase)
        repo_id = None if target is None else target.repo_id
        file = sign_manifest(data, secret, repo_id=repo_id, valid_days=options.valid_days)
        return cls(manifest_digest(data), key, file, renews=options.valid_days is not None)

    def publish(self, hub: Hub, target: Reference) -> bool:
        """Add it to the version on a remote; False where one by the same key that counts is there."""
        repository = cached_repository(hub.remote, target.repo_id)
        there = fetch_signatures(hub, target.repo_id, self.digest, repository).get(f"{self.key.fingerprint}.json")
        if there is not None and not self.renews and self._counts(there, target):
            return False
        publish_signature(hub, target.repo_id, signature_path(self.digest, self.key.fingerprint), self.file)
        return True

    def _counts(self, there: bytes, target: Reference) -> bool:
        keys = [key for key in list_trusted_keys() if key.fingerprint == self.key.fingerprint]
        found = check_signature_file(there, Signed(self.digest, target.repo_id), keys, source="the signature there")
        return any(signature.verdict == "trusted" for signature in found)
