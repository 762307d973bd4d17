"""Staging in a bucket: objects `staging/<name>` beside the blobs, and addresses signed for one PUT of one of them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore

from petapter_registry_server.storage.blobs import Content
from petapter_registry_server.storage.object_errors import translated

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

FOLDER = "staging"
_CHUNK_BYTES = 1 << 20


class ObjectStaging:
    """Staging in one bucket; `signer` is the same bucket under the key that addresses are signed with."""

    def __init__(self, objects: "S3Store", signer: "S3Store") -> None:
        self._objects = objects
        self._signer = signer

    def address(self, name: str, seconds: int) -> str:
        """An address for PUTs of this name."""
        with translated("sign an address for an upload"):
            return obstore.sign(self._signer, "PUT", _key(name), timedelta(seconds=seconds))

    def names(self, folder: str | None = None) -> Iterator[str]:
        """All names, or those below one folder."""
        with translated("list what was sent to it"):
            for batch in obstore.list(self._objects, FOLDER if folder is None else _key(folder), chunk_size=1000):
                for found in batch:
                    yield found["path"].removeprefix(f"{FOLDER}/")

    def open(self, name: str) -> Content:
        """Ask for an object once; the bytes are those of that moment."""
        with translated("read what was sent to it"):
            found = obstore.get(self._objects, _key(name))
        return Content(found.meta["size"], _chunks(found))

    def delete(self, name: str) -> None:
        """Remove an object."""
        with translated("delete what was sent to it"):
            try:
                obstore.delete(self._objects, _key(name))
            except FileNotFoundError:
                return


def _key(name: str) -> str:
    return f"{FOLDER}/{name}"


def _chunks(found: "GetResult") -> Iterator[bytes]:
    with translated("read what was sent to it"):
        for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            yield bytes(chunk)
