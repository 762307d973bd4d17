"""The blob store in a local directory: scratch, fsync, rename to `blobs/sha256/ab/cd/<hex>`, fsync the directories."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO


class LocalBlobStore:
    """Blobs and scratch below one root, on one file system so that a rename moves them.

    Opening a store without a scratch folder of its own (`storage/own_scratch.py`) takes and empties the common one:
    only the process that holds the data directory may do so.
    """

    def __init__(self, root: Path, own_scratch: Path | None = None) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._scratch = own_scratch or root / "scratch"
        if own_scratch is None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        _make_durable_directory(self._blobs, above=root)
        _make_durable_directory(self._scratch, above=root)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new empty directory for the files of one request, removed with its content at the end."""
        directory = Path(mkdtemp(dir=self._scratch))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def promote(self, file: Path, sha256: str) -> None:
        """Move a scratch file to its lasting place; replacing bytes that are there heals a damaged copy."""
        target = self._path(sha256)
        _make_durable_directory(target.parent, above=self._blobs)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(target)
        _sync_directory(target.parent)

    def local_path(self, sha256: str) -> Path:
        """The blob's own file."""
        path = self._path(sha256)
        if not path.is_file():
            raise FileNotFoundError(f"blob {sha256} is missing from {self._blobs}")
        return path

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; the caller closes it."""
        return self._path(sha256).open("rb")

    def _path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256[2:4] / sha256


def _make_durable_directory(directory: Path, *, above: Path) -> None:
    """Make a directory and every missing one between it and `above`, which exists, and write each entry to disk."""
    if directory.is_dir():
        return
    if directory != above:
        _make_durable_directory(directory.parent, above=above)
    directory.mkdir(exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
