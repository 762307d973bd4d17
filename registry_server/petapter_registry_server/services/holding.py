"""How a transaction makes sure that the bytes it refers to are stored, whatever is being collected meanwhile."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.db import blobs
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import TreeFile


def hold_bytes(session: Session, store: BlobStore, files: Mapping[TreeFile, Path]) -> None:
    """Hold the blobs of files, given with where their bytes lie in scratch, until the end of the transaction.

    The caller has promoted them. Where garbage collection or a scrub took one away since, it is promoted again, now
    that its row is locked.

    Raises:
        StoreError: The blob store does not answer.
    """
    by_digest = {file.sha256: (file.size, location) for file, location in files.items()}
    doubtful = blobs.hold(session, {sha256: size for sha256, (size, _) in by_digest.items()})
    for sha256 in sorted(doubtful):
        size, location = by_digest[sha256]
        if store.size(sha256) != size:
            store.promote(location, sha256)
