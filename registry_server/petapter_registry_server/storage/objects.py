"""The blob store in an object store, through obstore: S3 and what speaks its protocol.

It relies on a PUT that is refused when the key exists (`If-None-Match: *`), on GET with ranges, LIST, COPY and DELETE,
and on nothing else: what must be decided between two writers is decided in the database.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from petapter_registry_server.storage.blobs import Content, StoredBlob
from petapter_registry_server.storage.digest_names import blob_name, digest_of
from petapter_registry_server.storage.object_errors import translated
from petapter_registry_server.storage.scratch import Scratch

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ObjectStore

_CHUNK_BYTES = 1 << 20
_OWNER = "blobs/owner"


class ObjectBlobStore:
    """Blobs as objects `blobs/sha256/ab/cd/<hex>`; scratch is a local directory."""

    def __init__(self, objects: "ObjectStore", scratch: Path) -> None:
        self._objects = objects
        self._scratch = Scratch(scratch)

    def clear_scratch(self) -> None:
        """Remove what a killed server left; only the process that holds the data directory may."""
        self._scratch.clear()

    def claim(self, owner: str) -> str:
        """Note whose blobs these are in the object `blobs/owner`, unless that is there, and return whose they are."""
        with translated("note whose blobs these are"):
            try:
                obstore.put(self._objects, _OWNER, f"{owner}\n".encode("ascii"), mode="create", use_multipart=False)
            except AlreadyExistsError:
                return self.owner() or ""
        return owner

    def owner(self) -> str | None:
        """Whose blobs these are, as `claim` noted it."""
        with translated("say whose blobs these are"):
            try:
                return bytes(obstore.get(self._objects, _OWNER).bytes()).decode("ascii", "replace").strip()
            except FileNotFoundError:
                return None

    def link(self, sha256: str, target: Path) -> bool:
        """Objects have no names on this machine."""
        del sha256, target
        return False

    def scratch(self) -> AbstractContextManager[Path]:
        """A new empty directory for the files of one request, removed with its content at the end."""
        return self._scratch.directory()

    def flush(self, file: Path) -> None:
        """Nothing: the bytes go to the store, and a copy on this disk need not last."""
        del file

    def promote(self, files: Mapping[str, Path]) -> None:
        """Upload scratch files unless the same bytes are there; other bytes under a name are damage and replaced.

        Raises:
            StoreError: The store does not answer.
        """
        for sha256, file in files.items():
            self._promote(file, sha256)

    def _promote(self, file: Path, sha256: str) -> None:
        with translated(f"store blob {sha256}"):
            if self.size(sha256) is None and self._create(file, sha256):
                return
            if not self._is_whole(sha256):
                obstore.put(self._objects, _key(sha256), file, mode="overwrite", use_multipart=False)

    def local_file(self, sha256: str, scratch: Path) -> Path:
        """A copy of the blob below `scratch`."""
        copy = scratch / sha256
        with copy.open("wb") as stream:
            for chunk in self.open(sha256).chunks:
                stream.write(chunk)
        return copy

    def open(self, sha256: str, begin: int = 0, end: int | None = None) -> Content:
        """Ask the store for a part of a blob; its bytes arrive while they are read.

        Raises:
            FileNotFoundError: There is no such blob.
            StoreError: The store does not answer.
        """
        if end is not None and begin >= end:
            return Content(self._known_size(sha256), iter(()))
        options: GetOptions = {}
        if end is not None:
            options = {"range": (begin, end)}
        elif begin:
            options = {"range": {"offset": begin}}
        with translated(f"read blob {sha256}"):
            found = obstore.get(self._objects, _key(sha256), options=options)
        return Content(found.meta["size"], _chunks(found, sha256))

    def address(self, sha256: str, seconds: int) -> str | None:
        """A presigned address for one GET of this key; None where the store cannot sign."""
        if not isinstance(self._objects, S3Store):
            return None
        with translated(f"sign an address for blob {sha256}"):
            return obstore.sign(self._objects, "GET", _key(sha256), timedelta(seconds=seconds))

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob; None when it is not there."""
        try:
            return self._known_size(sha256)
        except FileNotFoundError:
            return None

    def stored(self) -> Iterator[StoredBlob]:
        """All blobs."""
        with translated("list blobs"):
            for batch in obstore.list(self._objects, "blobs", chunk_size=1000):
                for found in batch:
                    if digest := digest_of(found["path"]):
                        yield StoredBlob(digest, found["size"], int(found["last_modified"].timestamp() * 1000))

    def delete(self, sha256: str) -> None:
        """Remove a blob; nothing happens when it is not there."""
        with translated(f"delete blob {sha256}"):
            try:
                obstore.delete(self._objects, _key(sha256))
            except FileNotFoundError:
                return

    def set_aside(self, sha256: str) -> None:
        """Move a blob to `quarantine/<hex>`."""
        with translated(f"set blob {sha256} aside"):
            try:
                obstore.copy(self._objects, _key(sha256), f"quarantine/{sha256}")
            except FileNotFoundError:
                return
        self.delete(sha256)

    def _create(self, file: Path, sha256: str) -> bool:
        """Whether this writer was the one that made the object; multipart uploads cannot be refused everywhere."""
        try:
            obstore.put(self._objects, _key(sha256), file, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def _is_whole(self, sha256: str) -> bool:
        digest = hashlib.sha256()
        try:
            for chunk in self.open(sha256).chunks:
                digest.update(chunk)
        except FileNotFoundError:
            return False
        return digest.hexdigest() == sha256

    def _known_size(self, sha256: str) -> int:
        with translated(f"look for blob {sha256}"):
            return obstore.head(self._objects, _key(sha256))["size"]


def _key(sha256: str) -> str:
    return f"blobs/{blob_name(sha256)}"


def _chunks(found: "GetResult", sha256: str) -> Iterator[bytes]:
    with translated(f"read blob {sha256}"):
        for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)
