"""What the registry asks of a blob store; nothing here knows repositories or commits."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class BlobStore(Protocol):
    """Bytes named by their sha256. Promoting the same bytes twice is allowed and repairs damage."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A new empty directory for the files of one request, removed with its content at the end."""

    def promote(self, file: Path, sha256: str) -> None:
        """Move a scratch file whose digest was computed by the caller to its lasting place; durable on return."""

    def local_path(self, sha256: str) -> Path:
        """A local file with these bytes, for the checks that read a header. Raises: FileNotFoundError."""

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading; the caller closes it. Raises: FileNotFoundError."""
