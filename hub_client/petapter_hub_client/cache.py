"""Keeps pulled modules, each under the commit it came from; alone knows how the cache directory is laid out.

    <cache>/modules/<digest of the remote's address>/<namespace>/<name>/<commit>/petapter.json …
    <cache>/modules/<digest of the remote's address>/<namespace>/<name>/refs.json     revision -> commit

A commit's directory appears by one rename of checked files, so it is whole or absent.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.locks import CACHE_TIMEOUT_S, locked
from petapter_hub_client.places import cache_directory
from petapter_hub_client.remotes import Remote
from petapter_schemas import strict_json
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import write_file_durably
from petapter_schemas.errors import ManifestError, ModuleError, RemoteError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.module_files import verify_directory

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REFS_FILE = "refs.json"


@dataclass(frozen=True)
class CachedRepository:
    """The part of the cache that belongs to one module of one remote."""

    directory: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing this part meanwhile."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self.directory / ".lock", CACHE_TIMEOUT_S):
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory on the same file system that is gone afterwards, whatever happens."""
        path = Path(tempfile.mkdtemp(dir=self.directory, prefix=".scratch-"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def path(self, commit: str) -> Path:
        """Where the files of a commit are, or would be.

        Raises:
            RemoteError: The remote's name for the commit is no git commit id.
        """
        return self.directory / check_commit(commit)

    def find(self, commit: str) -> Manifest | None:
        """The manifest of a cached commit, all of whose bytes were just hashed; None when absent or broken."""
        try:
            return verify_directory(self.path(commit))
        except ModuleError:
            return None

    def install(self, commit: str, checked: Path, scratch: Path) -> Path:
        """Make a checked directory the entry of a commit; a broken former entry moves to `scratch`."""
        target = self.path(commit)
        if target.exists():
            target.rename(scratch / "broken")
        checked.rename(target)
        return target

    def remember(self, revision: str | None, commit: str) -> None:
        """Note which commit a revision meant, for offline use; None stands for the newest version."""
        refs = {**self._refs(), revision or "": commit}
        write_file_durably(self.directory / _REFS_FILE, json.dumps(refs, indent=2, sort_keys=True).encode() + b"\n")

    def recall(self, revision: str | None) -> str | None:
        """The commit that a revision meant when it was last pulled."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        commit = self._refs().get(revision or "")
        return commit if commit is not None and _COMMIT.fullmatch(commit) else None

    def _refs(self) -> dict[str, str]:
        try:
            document = strict_json.loads((self.directory / _REFS_FILE).read_bytes(), source=_REFS_FILE)
        except (OSError, ManifestError):
            return {}  # only a convenience: the next pull writes it anew
        return {key: str(value) for key, value in document.items()} if isinstance(document, dict) else {}


def cached_repository(remote: Remote, repo_id: str) -> CachedRepository:
    """The cache of a module; `repo_id` is a checked namespace/name."""
    endpoint = sha256_bytes(remote.url.encode())[:16]
    return CachedRepository(cache_directory().joinpath("modules", endpoint, *repo_id.split("/")))


def check_commit(commit: str | None) -> str:
    """Return a commit id unchanged when it is 40 hex digits, before it becomes part of a path.

    Raises:
        RemoteError: It is anything else.
    """
    if commit is None or not _COMMIT.fullmatch(commit):
        raise RemoteError("the remote names no commit of 40 hex digits: it does not speak the Hub's protocol")
    return commit


def copy_module(manifest: Manifest, source: Path, target: Path) -> None:
    """Copy exactly the files of a module; both directories exist afterwards."""
    for name in (MANIFEST_FILE, *(file.path for file in manifest.files)):
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination)
