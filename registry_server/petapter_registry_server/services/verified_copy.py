"""Copies of blobs on their way out of a store, or into another, whose digest is computed while they are written."""

import hashlib
from pathlib import Path

from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.storage.durable import sync_file


def copy_verified(store: BlobStore, sha256: str, target: Path, *, remedy: str) -> None:
    """Write the bytes of a blob to a new file, durably.

    Raises:
        DataDirectoryError: The store lacks the blob or holds other bytes; `remedy` is the end of the message.
        StoreError: The store does not answer.
    """
    digest = hashlib.sha256()
    try:
        content = store.open(sha256)
        with target.open("wb") as stream:
            for chunk in content.chunks:
                digest.update(chunk)
                stream.write(chunk)
    except FileNotFoundError as error:
        raise DataDirectoryError(f"blob {sha256} is missing: {remedy}") from error
    if digest.hexdigest() != sha256:
        raise DataDirectoryError(f"blob {sha256} is damaged: {remedy}")
    sync_file(target)
