"""What the registry asks of a blob store; nothing here knows repositories or commits."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Content:
    """An opened blob: the size of the whole blob in bytes, and the chunks of the part that was asked for."""

    size: int
    chunks: Iterator[bytes]


@dataclass(frozen=True)
class StoredBlob:
    """A blob as the store lists it."""

    sha256: str
    size: int
    modified_ms: int


class BlobStore(Protocol):
    """Bytes named by their sha256, as publishing and reading use them.

    Promoting the same bytes twice is allowed and repairs damage. Every method may raise StoreError when the store
    does not answer.
    """

    def scratch(self) -> AbstractContextManager[Path]:
        """A new empty directory on this machine for one request, removed with its content at the end."""

    def flush(self, file: Path) -> None:
        """Note that a scratch file that still grows will be promoted: what is slow about that may begin."""

    def promote(self, files: Mapping[str, Path]) -> None:
        """Store scratch files, by the digests that the caller computed; durable on return. The scratch files stay."""

    def local_file(self, sha256: str, scratch: Path) -> Path:
        """A local file with these bytes: the store's own, or a copy below `scratch`. Raises: FileNotFoundError."""

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob; None when it is not there."""

    def open(self, sha256: str, begin: int = 0, end: int | None = None) -> Content:
        """Open the bytes from `begin` up to, and without, `end`. Raises: FileNotFoundError."""

    def address(self, sha256: str, seconds: int) -> str | None:
        """An address at which anybody may read the blob for so long; None when the store has none to give."""


class BlobShelf(BlobStore, Protocol):
    """What garbage collection, scrubbing and backup ask besides."""

    def clear_scratch(self) -> None:
        """Remove what a killed server left; only the process that holds the data directory may."""

    def claim(self, owner: str) -> str:
        """Note whose blobs these are, unless that is noted already, and return whose they are."""

    def owner(self) -> str | None:
        """Whose blobs these are, as `claim` noted it."""

    def link(self, sha256: str, target: Path) -> bool:
        """Give a blob a second name on this machine, where the store can. Raises: FileNotFoundError."""

    def stored(self) -> Iterator[StoredBlob]:
        """All blobs, in no order."""

    def delete(self, sha256: str) -> None:
        """Remove a blob; nothing happens when it is not there."""

    def set_aside(self, sha256: str) -> None:
        """Move a blob to quarantine, where it is kept and no longer served; nothing happens when it is not there."""
