"""Sign and verify in the format of OpenSSF Model Signing: directories, and published versions with them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.fetching import is_local_module, pull_to_sign
from petapter_hub_client.hub import open_hub
from petapter_hub_client.signing.bundles import (
    KeySigner,
    KeyVerifier,
    SigstoreSigner,
    SigstoreVerifier,
    bundle_path,
    bundles_beside,
    sign_bundle,
    verify_bundle,
    write_bundle,
)
from petapter_hub_client.signing.stored import fetch_bundles, publish_signature
from petapter_hub_client.signing.verbs import publish_target, require_same, writable_hub
from petapter_schemas.errors import InputError, SignatureError
from petapter_schemas.manifest import MANIFEST_FILE, manifest_digest, read_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference


@dataclass(frozen=True)
class SignedWithBundle:
    """A signature that was made.

    Attributes:
        name: Of the module, with its version.
        digest: Of the manifest.
        path: The file, in the module's directory; None where a module of a remote was signed.
        reference: Where it was published; None where it was not.
    """

    name: str
    digest: str
    path: Path | None
    reference: str | None


def sign_with_bundle(module: str | Path, reference: str | None, signer: KeySigner | SigstoreSigner) -> SignedWithBundle:
    """Sign a module directory, or a version as it is on a remote.

    Args:
        module: Holds petapter.json; or `[remote:]namespace/name[@revision]`.
        reference: `[remote:]namespace/name` where the directory is published; the signature is added there.
        signer: Who signs.

    Raises:
        InputError: The key cannot be used, or a reference was given twice.
        ModuleError: That is no valid module, or the remote's version is another one.
        RemoteError: The remote or Sigstore said no, or nothing.
        PetapterError: The extra `model-signing` is not installed.
    """
    if isinstance(module, str) and not is_local_module(module):
        if reference is not None:
            raise InputError(
                f"{module!r} is no directory: give the module's directory first, then where it is published"
            )
        return _sign_published(module, signer)
    directory = Path(module)
    manifest = read_manifest(directory)
    target = None if reference is None else publish_target(reference, manifest.version)
    hub = None if target is None else writable_hub(target)
    if hub is not None and target is not None:
        require_same(hub, target, (directory / MANIFEST_FILE).read_bytes(), directory)
    made = sign_bundle(directory, signer)
    path = write_bundle(directory, made)
    shown = None
    if hub is not None and target is not None:
        publish_signature(hub, target.repo_id, bundle_path(made), made.data)
        shown = str(Reference(hub.remote.name, target.repo_id, target.revision))
    return SignedWithBundle(f"{manifest.name} {manifest.version}", made.digest, path, shown)


def verify_with_bundle(
    module: str | Path, verifier: KeyVerifier | SigstoreVerifier, signature: Path | None = None
) -> str:
    """Check every byte of a module, and that one of its signatures is by a key or an identity; the name of its file.

    Args:
        module: A directory, or a reference, which is pulled, and whose signatures the remote is asked for.
        verifier: By whom it must be.
        signature: The file; None for those that come with the module.

    Raises:
        ModuleError: The bytes are broken, or no signature holds.
        RemoteError: The remote or Sigstore said no, or nothing.
        InputError: The key or a file cannot be used.
        PetapterError: The extra `model-signing` is not installed.
    """
    with _with_bundles(module) as (directory, found):
        verify_directory(directory)
        tried = [signature] if signature is not None else found
        problem: SignatureError | None = None
        for path in tried:
            try:
                verify_bundle(directory, path, verifier)
            except SignatureError as error:
                problem = error
            else:
                return path.name
        raise problem or SignatureError(
            f"{module} has no signature in the format of OpenSSF Model Signing: ask whoever publishes it, or give its "
            "file with --signature"
        )


def _sign_published(reference: str, signer: KeySigner | SigstoreSigner) -> SignedWithBundle:
    hub = writable_hub(Reference.parse(reference))
    pulled = pull_to_sign(reference)
    made = sign_bundle(pulled.directory, signer)
    publish_signature(hub, Reference.parse(reference).repo_id, bundle_path(made), made.data)
    name = f"{pulled.manifest.name} {pulled.manifest.version}"
    return SignedWithBundle(name, made.digest, None, pulled.reference)


@contextmanager
def _with_bundles(module: str | Path) -> Iterator[tuple[Path, list[Path]]]:
    """The directory of a module and the files of its signatures, which of a published one are here for a while."""
    if isinstance(module, Path) or is_local_module(module):
        directory = Path(module)
        yield directory, bundles_beside(directory, _digest(directory))
        return
    reference = Reference.parse(module)
    pulled = pull_to_sign(module)
    files = fetch_bundles(open_hub(reference.remote), reference.repo_id, pulled.digest)
    with tempfile.TemporaryDirectory(prefix="petapter-signatures-") as folder:
        paths = [Path(folder) / name for name in files]
        for path in paths:
            path.write_bytes(files[path.name])
        yield pulled.directory, paths


def _digest(directory: Path) -> str:
    verify_directory(directory)
    return manifest_digest((directory / MANIFEST_FILE).read_bytes())
