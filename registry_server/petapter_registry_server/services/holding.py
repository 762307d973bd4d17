"""How a transaction makes sure that the bytes it refers to are stored, whatever is being collected meanwhile."""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.db import blobs
from petapter_registry_server.storage.blobs import BlobStore


def hold_bytes(session: Session, store: BlobStore, locations: Mapping[str, Path]) -> None:
    """Hold blobs, given by digest with where their bytes lie in scratch, until the end of the transaction.

    The caller has promoted them. Where garbage collection or a scrub took one away since, it is promoted again:
    in this write neither can.

    Raises:
        StoreError: The blob store does not answer.
    """
    sizes = {sha256: location.stat().st_size for sha256, location in locations.items()}
    doubtful = blobs.hold(session, sizes)
    store.promote({sha256: locations[sha256] for sha256 in doubtful if store.size(sha256) != sizes[sha256]})
