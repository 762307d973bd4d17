"""Where clients may send bytes to the store themselves: one name each, and nobody but the registry reads there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from petapter_registry_server.storage.blobs import Content


@dataclass(frozen=True)
class SigningKey:
    """A key of the object store that addresses for uploads are signed with; it needs no more than to write."""

    key_id: str
    secret: str = field(repr=False)


class Staging(Protocol):
    """Bytes that nobody has looked at yet, by name. Every method may raise StoreError: the store does not answer."""

    def address(self, name: str, seconds: int) -> str:
        """An address at which anybody may PUT the bytes of this name, as often as they like, until then; no more."""

    def names(self, folder: str | None = None) -> Iterator[str]:
        """All names, or those below one folder, in no order."""

    def open(self, name: str) -> Content:
        """The bytes as they are now; what is written meanwhile is not seen. Raises: FileNotFoundError."""

    def delete(self, name: str) -> None:
        """Remove the bytes; nothing happens when there are none."""
