"""The blob store in a local directory: scratch, fsync, rename to `blobs/sha256/ab/cd/<hex>`, fsync the directories.

The files of one commit are synced together: what takes the time is the journal, and its transactions are shared.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.storage.blobs import Content, StoredBlob
from petapter_registry_server.storage.digest_names import blob_name, digest_of
from petapter_registry_server.storage.durable import (
    link_or_copy,
    link_unless_taken,
    make_durable_directory,
    sync_all,
    sync_directory,
    sync_file,
)
from petapter_registry_server.storage.scratch import Scratch
from petapter_registry_server.writes import Writes, nobody_asks

_CHUNK_BYTES = 1 << 20
_SYNCS_AT_ONCE = 16


class LocalBlobStore:
    """Blobs and scratch below one root, on one file system, so that a second name and a rename move the bytes."""

    def __init__(
        self, root: Path, scratch: Path | None = None, reached: Reached = nothing, writes: Writes | None = None
    ) -> None:
        """Open the store.

        Args:
            root: The data directory.
            scratch: A scratch folder of this process alone; None takes the common one.
            reached: Called at the named places of failpoints.py.
            writes: What a failed sync stops; None for programs of one deed.
        """
        self._reached = reached
        self._failed = nobody_asks if writes is None else writes.stop
        self._root = root
        self._blobs = root / "blobs"
        self._quarantine = root / "quarantine"
        self._scratch = Scratch(scratch or root / "scratch")
        self._syncing = ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="sync")  # begun when first needed
        self._lasting: set[str] = set()  # directories whose names this process has seen to be on disk

    def clear_scratch(self) -> None:
        """Remove what a killed server left; only the process that holds the data directory may."""
        self._scratch.clear()

    def claim(self, owner: str) -> str:
        """Note whose blobs these are in `blobs/owner`, unless that is there, and return whose they are."""
        make_durable_directory(self._blobs, above=self._root, failed=self._failed)
        note = self._blobs / "owner"
        with self.scratch() as directory:
            ours = directory / "owner"
            ours.write_text(f"{owner}\n", encoding="ascii")
            sync_file(ours, self._failed)
            if not note.exists():
                link_unless_taken(ours, note, self._failed)
        sync_directory(self._blobs, self._failed)
        return self.owner() or ""

    def owner(self) -> str | None:
        """Whose blobs these are, as `claim` noted it."""
        try:
            return (self._blobs / "owner").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None

    def scratch(self) -> AbstractContextManager[Path]:
        """A new empty directory for the files of one request, removed with its content at the end."""
        return self._scratch.directory()

    def flush(self, file: Path) -> None:
        """Write what a scratch file holds so far to disk, so that little is left for `promote` to wait for."""
        sync_file(file, self._failed)

    def promote(self, files: Mapping[str, Path]) -> None:
        """Bring scratch files to their lasting places; replacing bytes that are there heals a damaged copy.

        All bytes, and the directories to come, are on disk before the first file takes its name.
        """
        targets = {sha256: self._path(sha256) for sha256 in files}
        fresh = self._make_directories({target.parent for target in targets.values()})
        arriving = {sha256: file.with_name(f".{sha256}.{secrets.token_hex(8)}") for sha256, file in files.items()}
        for sha256, file in files.items():
            link_or_copy(file, arriving[sha256], self._failed)
        sync_all([*files.values(), *{directory.parent for directory in fresh}], self._syncing, self._failed)
        self._lasting.update(map(os.fspath, fresh))
        for sha256, target in targets.items():
            self._reached("synced")
            arriving[sha256].replace(target)
            self._reached("renamed")
            arriving[sha256].unlink(missing_ok=True)  # a rename does nothing where both already name one file (POSIX)
        sync_all({target.parent for target in targets.values()}, self._syncing, self._failed)

    def _make_directories(self, wanted: Iterable[Path]) -> set[Path]:
        """Make directories, and return those on the way to them whose own name may not be on disk yet.

        One that is there already may have been made a moment ago, by another push or by a server that died since.
        """
        fresh: set[Path] = set()
        for directory in wanted:
            way = (directory, *directory.parents)
            fresh.update(step for step in way[: way.index(self._root)] if not self._lasts(step))
        for directory in sorted(fresh):  # a parent before what it holds
            directory.mkdir(exist_ok=True)
        return fresh

    def _lasts(self, directory: Path) -> bool:
        return os.fspath(directory) in self._lasting and directory.is_dir()

    def local_file(self, sha256: str, scratch: Path) -> Path:
        """The blob's own file; scratch is not needed."""
        del scratch
        path = self._path(sha256)
        if not path.is_file():
            raise FileNotFoundError(f"blob {sha256} is missing from {self._blobs}")
        return path

    def link(self, sha256: str, target: Path) -> bool:
        """Give a blob a second name, unless that lies on another file system."""
        try:
            os.link(self._path(sha256), target)
        except FileNotFoundError:
            raise
        except OSError:
            return False
        return True

    def open(self, sha256: str, begin: int = 0, end: int | None = None) -> Content:
        """Open a part of a blob; the file is closed when its chunks are read or dropped."""
        path = self._path(sha256)
        size = path.stat().st_size
        chunks = _chunks(path.open("rb"), begin, (size if end is None else end) - begin)
        next(chunks)  # to where the file is closed however the chunks are dropped
        return Content(size, chunks)

    def address(self, sha256: str, seconds: int) -> str | None:
        """Local files have no address."""
        del sha256, seconds
        return None

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob; None when it is not there."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def stored(self) -> Iterator[StoredBlob]:
        """All blobs; those that go away meanwhile are left out."""
        for path in self._blobs.glob("sha256/*/*/*"):
            digest = digest_of(path.as_posix())
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if digest is not None:
                yield StoredBlob(digest, found.st_size, int(found.st_mtime * 1000))

    def delete(self, sha256: str) -> None:
        """Remove a blob; nothing happens when it is not there."""
        path = self._path(sha256)
        if path.exists():
            path.unlink(missing_ok=True)
            sync_directory(path.parent, self._failed)

    def set_aside(self, sha256: str) -> None:
        """Move a blob to `quarantine/`; damage that was found there before is kept beside it."""
        path = self._path(sha256)
        if not path.exists():
            return
        make_durable_directory(self._quarantine, above=self._root, failed=self._failed)
        path.replace(self._quarantine / f"{sha256}.{secrets.token_hex(4)}")
        sync_directory(self._quarantine, self._failed)
        sync_directory(path.parent, self._failed)

    def _path(self, sha256: str) -> Path:
        return self._blobs / blob_name(sha256)


def _chunks(stream: BinaryIO, begin: int, length: int) -> Iterator[bytes]:
    with stream:
        yield b""
        stream.seek(begin)
        left = length
        while left > 0 and (chunk := stream.read(min(_CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
