"""Where signatures lie: beside a module, on the branch `signatures` of its repository, and in the cache.

The branch holds `signatures/<sha256 of the manifest>/<fingerprint of the key>.json` and nothing else, so that
signatures come and go while versions stay as they are; schemas/README.md says why there.
"""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from petapter_hub_client.cache import CachedRepository, check_commit
from petapter_hub_client.downloading import RemoteFile, read_small
from petapter_hub_client.hub import Hub, asking
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import CacheError, RemoteError, RemoteNotFoundError, VersionConflictError
from petapter_schemas.signature import (
    MAX_SIGNATURE_BYTES,
    MAX_SIGNATURES,
    SIGNATURES_BRANCH,
    SIGNATURES_FOLDER,
    signature_path,
)

BUNDLES_FOLDER = "sigstore"
"""Below the signatures of a version, where readers of our own envelopes do not look."""

Files = Mapping[str, bytes]
"""Signature files by name."""

_KEPT = frozenset({".gitattributes"})
_TRIES = 8
_MAIN = "main"


def signatures_beside(directory: Path, digest: str) -> Files:
    """The signatures of a version in its module directory."""
    return _files(directory / SIGNATURES_FOLDER / digest)


def write_beside(directory: Path, digest: str, fingerprint: str, data: bytes) -> Path:
    """Put a signature into a module directory, where readers of modules pass over it."""
    path = directory / signature_path(digest, fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file_durably(path, data)
    return path


def cached_signatures(repository: CachedRepository, digest: str) -> Files:
    """The signatures of a version that were seen last."""
    return _files(repository.signatures(digest))


def fetch_signatures(hub: Hub, repo_id: str, digest: str, repository: CachedRepository) -> Files:
    """The signatures of a version on a remote; kept in the cache, where it can be written.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    files = _fetched(hub, repo_id, f"{SIGNATURES_FOLDER}/{digest}/")
    with suppress(CacheError, OSError):  # what is asked of the remote is not lost by a cache that takes nothing
        _keep(repository, digest, files)
    return files


def fetch_bundles(hub: Hub, repo_id: str, digest: str) -> Files:
    """The signatures of a version on a remote that are no envelopes of ours; they are not kept.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    return _fetched(hub, repo_id, f"{SIGNATURES_FOLDER}/{digest}/{BUNDLES_FOLDER}/")


def publish_signature(hub: Hub, repo_id: str, path: str, data: bytes) -> str:
    """Add a signature to a repository, or put a newer one in its place; returns the commit.

    Raises:
        VersionConflictError: Others changed the branch again and again meanwhile.
        RemoteError: The remote said no, or nothing.
    """
    for _ in range(_TRIES):
        head = _head(hub, repo_id)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationAdd(path, data)]
        operations += _strangers(hub, repo_id, head)
        try:
            with asking(hub.remote, repo_id):
                commit = hub.api.create_commit(
                    repo_id, operations, revision=SIGNATURES_BRANCH, parent_commit=head,
                    commit_message=f"Signature of {path.split('/')[1][:12]}",
                )  # fmt: skip
        except VersionConflictError:
            continue
        return str(commit.oid)
    raise VersionConflictError(
        f"the signatures of {repo_id} on remote {hub.remote.name!r} are being changed by others: try again"
    )


def _files(folder: Path) -> Files:
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.glob("*.json") if path.is_file() and not path.is_symlink())
    return {path.name: _read(path) for path in found[:MAX_SIGNATURES]}


def _read(path: Path) -> bytes:
    """One byte more than is allowed at most, so that a longer file is told."""
    with path.open("rb") as stream:
        return stream.read(MAX_SIGNATURE_BYTES + 1)


def _fetched(hub: Hub, repo_id: str, folder: str) -> Files:
    try:
        with asking(hub.remote, repo_id):
            info = hub.api.model_info(repo_id, revision=SIGNATURES_BRANCH)
    except RemoteNotFoundError:  # the repository was there a moment ago: it has no such branch
        return {}
    commit = check_commit(info.sha)
    paths = sorted(file.rfilename for file in info.siblings or () if file.rfilename.startswith(folder))
    names = [path.removeprefix(folder) for path in paths if path.endswith(".json")]
    names = [name for name in names if "/" not in name and not name.startswith(".")][:MAX_SIGNATURES]
    return {
        name: read_small(hub, RemoteFile(repo_id, commit, f"{folder}{name}"), MAX_SIGNATURE_BYTES) for name in names
    }


def _keep(repository: CachedRepository, digest: str, files: Files) -> None:
    folder = repository.signatures(digest)
    if _files(folder) == files:
        return
    with repository.locked():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, data in files.items():
            write_file_durably(folder / name, data)


def _head(hub: Hub, repo_id: str) -> str:
    """The head of the branch, which is made where there is none yet: it begins as main, with all its files."""
    for _ in range(2):
        with asking(hub.remote, repo_id):
            branches = {branch.name: branch.target_commit for branch in hub.api.list_repo_refs(repo_id).branches}
            if SIGNATURES_BRANCH in branches:
                return branches[SIGNATURES_BRANCH]
            hub.api.create_branch(repo_id, branch=SIGNATURES_BRANCH, revision=_MAIN, exist_ok=True)
    raise RemoteError(f"remote {hub.remote.name!r} made no branch {SIGNATURES_BRANCH!r} of {repo_id}: try again later")


def _strangers(hub: Hub, repo_id: str, head: str) -> list[CommitOperationDelete]:
    """What is to go: the files of main that a new branch begins with."""
    with asking(hub.remote, repo_id):
        paths = [file.rfilename for file in hub.api.model_info(repo_id, revision=head).siblings or ()]
    folder = f"{SIGNATURES_FOLDER}/"
    return [CommitOperationDelete(path, is_folder=False) for path in paths
            if not path.startswith(folder) and path not in _KEPT]  # fmt: skip
