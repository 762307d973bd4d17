"""Keeps pulled modules, each under the commit it came from; alone knows how the cache directory is laid out.

    <cache>/modules/<digest of the remote's address>/remote.json                      the address
    <cache>/modules/…/<namespace>/<name>/<commit>/petapter.json …                     a module, never changed
    <cache>/modules/…/<namespace>/<name>/<commit>.checked                             empty: when it was hashed last
    <cache>/modules/…/<namespace>/<name>/refs.json                                    revision -> commit
    <cache>/modules/…/<namespace>/<name>/.parts/<sha256>                              bytes of an unfinished pull
    <cache>/modules/…/<namespace>/<name>/.signatures/<digest>/<fingerprint>.json      of a version, by its manifest

A commit's directory appears by one rename of checked files, so it is whole or absent; its time of change says when it
was last used. Whoever writes holds the lock `.lock` of the module; who reads needs none.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.locks import CACHE_TIMEOUT_S, locked
from petapter_hub_client.places import CACHE_VARIABLE, cache_directory
from petapter_hub_client.remotes import Remote
from petapter_schemas import strict_json
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.durable import sync_directory, write_file_durably
from petapter_schemas.errors import CacheError, ManifestError, ModuleError, RemoteError
from petapter_schemas.manifest import MANIFEST_FILE, Manifest
from petapter_schemas.module_files import verify_directory

MODULES_FOLDER = "modules"
REMOTE_FILE = "remote.json"
PARTS_FOLDER = ".parts"
SIGNATURES_FOLDER = ".signatures"
CHECKED_SUFFIX = ".checked"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REFS_FILE = "refs.json"
_SCRATCH = ".scratch-"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class CachedRepository:
    """The part of the cache that belongs to one module of one remote."""

    directory: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing this part meanwhile.

        Raises:
            CacheError: The cache cannot be written, or has no room.
        """
        with writing_cache():
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory / ".lock", CACHE_TIMEOUT_S):
                yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory on the same file system that is gone afterwards; only under the lock, so any other is dead."""
        for left in self.directory.glob(f"{_SCRATCH}*"):
            shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(dir=self.directory, prefix=_SCRATCH))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @property
    def parts(self) -> Path:
        """Holds what arrived of an unfinished pull; not made here."""
        return self.directory / PARTS_FOLDER

    def signatures(self, digest: str) -> Path:
        """Holds the signatures of a version that were seen last; not made here."""
        return self.directory / SIGNATURES_FOLDER / digest

    def path(self, commit: str) -> Path:
        """Where the files of a commit are, or would be.

        Raises:
            RemoteError: The remote's name for the commit is no git commit id.
        """
        return self.directory / check_commit(commit)

    def commits(self) -> list[str]:
        """The cached commits, whole or broken, in no order."""
        return [path.name for path in self.directory.iterdir() if _COMMIT.fullmatch(path.name) and path.is_dir()]

    def find(self, commit: str) -> Manifest | None:
        """The manifest of a cached commit, all of whose bytes were just hashed; None when absent or broken."""
        try:
            manifest = verify_directory(self.path(commit))
        except ModuleError:
            return None
        self.note_check(commit)
        return manifest

    def note_check(self, commit: str) -> None:
        """Keep the time at which all bytes of a commit were right; a cache that cannot be written does without."""
        with suppress(OSError):
            self.checked_marker(commit).touch()

    def note_use(self, commit: str) -> None:
        """Keep the time at which a commit was used; likewise."""
        with suppress(OSError):
            os.utime(self.path(commit))

    def checked_marker(self, commit: str) -> Path:
        """The empty file whose time of change says when a commit was hashed last."""
        return self.directory / f"{check_commit(commit)}{CHECKED_SUFFIX}"

    def install(self, commit: str, checked: Path, scratch: Path) -> None:
        """Make a checked directory the entry of a commit; a broken former entry moves to `scratch`."""
        self.take_out(commit, scratch)
        checked.rename(self.path(commit))
        sync_directory(self.directory)
        self.note_check(commit)

    def take_out(self, commit: str, scratch: Path) -> Path | None:
        """Move the entry of a commit, if there is one, to `scratch`; only under the lock."""
        self.checked_marker(commit).unlink(missing_ok=True)
        source, target = self.path(commit), scratch / f"out-{commit}"
        if not source.exists():
            return None
        return source.rename(target)

    def remember(self, commit: str, *revisions: str | None) -> None:
        """Note that revisions meant this commit, for offline use; None stands for the newest version."""
        known = self.refs()
        new = {revision or "": commit for revision in revisions if commit not in {revision, known.get(revision or "")}}
        if new:
            with suppress(CacheError), self.locked():  # a convenience: a cache that cannot be written does without
                self.write_refs({**self.refs(), **new})

    def recall(self, revision: str | None) -> str | None:
        """The commit that a revision meant when it was last pulled."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        commit = self.refs().get(revision or "")
        return commit if commit is not None and _COMMIT.fullmatch(commit) else None

    def refs(self) -> dict[str, str]:
        """What revisions meant when they were last pulled."""
        try:
            document = strict_json.loads((self.directory / _REFS_FILE).read_bytes(), source=_REFS_FILE)
        except (OSError, ManifestError):
            return {}  # only a convenience: the next pull writes it anew
        return {key: str(value) for key, value in document.items()} if isinstance(document, dict) else {}

    def write_refs(self, refs: dict[str, str]) -> None:
        """Replace them; only under the lock."""
        write_file_durably(self.directory / _REFS_FILE, json.dumps(refs, indent=2, sort_keys=True).encode() + b"\n")


def cached_repository(remote: Remote, repo_id: str) -> CachedRepository:
    """The cache of a module; `repo_id` is a checked namespace/name."""
    return CachedRepository(remote_directory(remote).joinpath(*repo_id.split("/")))


def remote_directory(remote: Remote) -> Path:
    """The part of the cache that belongs to one remote."""
    return cache_directory() / MODULES_FOLDER / sha256_bytes(remote.url.encode())[:16]


def note_remote(remote: Remote) -> None:
    """Keep the address that a part of the cache belongs to; its directory must exist."""
    path = remote_directory(remote) / REMOTE_FILE
    if not path.exists():
        write_file_durably(path, json.dumps({"url": remote.url}).encode() + b"\n")


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


def check_room(needed_bytes: int) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        CacheError: It has not.
    """
    free_bytes = shutil.disk_usage(cache_directory()).free
    if free_bytes < needed_bytes + _SPARE_BYTES:
        raise CacheError(_no_room(f"needs {needed_bytes:,} more bytes and has {free_bytes:,}"))


@contextmanager
def writing_cache() -> Iterator[None]:
    """Say what to do where the disk refuses to write the cache.

    Raises:
        CacheError: It does.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise CacheError(_no_room(f"has no room left ({error.strerror})")) from error
        if error.errno in _NOT_WRITABLE:
            raise CacheError(
                f"the cache {cache_directory()} cannot be written ({error.strerror}): let {CACHE_VARIABLE} name a "
                "directory of yours"
            ) from error
        raise


def _no_room(what: str) -> str:
    return (
        f"the cache {cache_directory()} {what}: free some room, for example by 'petapter remove --older-than 30d', or "
        f"let {CACHE_VARIABLE} name another directory; what arrived so far is kept, and the same command goes on there"
    )
