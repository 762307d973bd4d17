"""Garbage collection: blobs that no living repository refers to are condemned, and after a grace deleted.

No lease and no clock decides what is safe. A blob is deleted in a transaction that holds its row, while a push that
wants it waits; a push that refers to bytes nobody has promised looks for them while it holds the row itself
(services/holding.py). The graces keep that from happening often, and leave time to notice a mistaken deletion.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import blobs, uploads
from petapter_registry_server.db.engine import Database
from petapter_registry_server.services.staged_names import StagedName
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.staging import Staging

_BATCH = 500
_DAY_MS = 86_400_000
_SENT_MS = 2 * _DAY_MS
"""How long bytes wait that were sent apart from a commit and that no commit named."""
_BLOCKS_MS = 35 * _DAY_MS
"""How long blocks of the Xet protocol are kept; clients remember for up to a month that they sent them."""


@dataclass(frozen=True)
class Collected:
    """What one run did: blobs by what happened to them, the bytes of those that were deleted, and abandoned uploads."""

    strays: int
    condemned: int
    deleted: int
    deleted_bytes: int
    abandoned: int = 0


class GarbageCollection:
    """Collects for one registry. Runs may overlap, also between processes."""

    def __init__(
        self,
        database: Database,
        store: BlobShelf,
        staging: Staging | None = None,
        *,
        grace_ms: int,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Collect in a store, and in the place of it that clients send bytes to, where it has one."""
        self._database = database
        self._store = store
        self._staging = staging
        self._grace_ms = grace_ms
        self._clock = clock

    def run(self, stopped: Callable[[], bool] = lambda: False) -> Collected:
        """Condemn what is old and referred to by nobody; delete what was condemned a grace ago.

        Bytes without a row, which a crash between the two left, are condemned as they are found. Ends early, with
        nothing half done, when `stopped` says so.

        Raises:
            StoreError: The blob store does not answer; what was not deleted yet stays condemned.
        """
        strays = self.adopt_strays()
        condemned = self.condemn()
        deleted = list(self._delete(stopped))
        return Collected(strays, condemned, len(deleted), sum(deleted), self.drop_abandoned())

    def preview(self) -> Collected:
        """What a run would do, by counting alone."""
        limit = self._clock() - self._grace_ms
        with self._database.read() as session:
            strays = sum(len(blobs.unknown(session, list(batch))) for batch in self._old_bytes())
            condemned = blobs.count_lonely(session, created_before_ms=limit)
            doomed = blobs.list_condemned(session, before_ms=limit)
        doomed_bytes = sum(blob.size for blob in doomed)
        return Collected(strays, condemned, len(doomed), doomed_bytes, sum(1 for _ in self._abandoned()))

    def drop_abandoned(self) -> int:
        """Delete what clients sent to the object store and nobody asked for since; returns how many objects."""
        dropped = 0
        for name in list(self._abandoned()):
            if self._staging is not None:
                self._staging.delete(name)
                dropped += 1
        return dropped

    def _abandoned(self) -> Iterator[str]:
        """Names whose addresses ended as long ago as bytes wait for their commit: nobody can write to them again."""
        limit_s = (self._clock() - _SENT_MS) // 1000
        for text in self._staging.names() if self._staging else ():
            name = StagedName.read(text)
            if name is not None and name.expires_s < limit_s:
                yield text

    def adopt_strays(self) -> int:
        """Condemn old bytes that no row knows; returns how many."""
        adopted = 0
        for batch in self._old_bytes():
            with self._database.read() as session:
                strays = blobs.unknown(session, list(batch))
            if strays:
                with self._database.write() as session:
                    adopted += blobs.adopt(session, {sha: batch[sha] for sha in strays}, self._clock())
        return adopted

    def condemn(self) -> int:
        """Condemn old blobs that no living repository refers to, nor what was sent for one; returns how many."""
        now = self._clock()
        with self._database.write() as session:
            uploads.expire(session, sent_before_ms=now - _SENT_MS, blocks_before_ms=now - _BLOCKS_MS)
            return blobs.condemn(session, created_before_ms=now - self._grace_ms, at_ms=now)

    def delete(self) -> int:
        """Delete what was condemned a grace ago and is still referred to by nobody; returns how many."""
        return len(list(self._delete(lambda: False)))

    def _delete(self, stopped: Callable[[], bool]) -> Iterator[int]:
        limit = self._clock() - self._grace_ms
        with self._database.read() as session:
            doomed = blobs.list_condemned(session, before_ms=limit)
        for blob in doomed:
            if stopped():
                return
            with self._database.write() as session:
                gone = blobs.pardon_or_remove(session, blob.sha256, condemned_before_ms=limit)
                if gone:
                    self._store.delete(blob.sha256)
            if gone:
                yield blob.size

    def _old_bytes(self) -> Iterator[dict[str, int]]:
        limit = self._clock() - self._grace_ms
        old = ((blob.sha256, blob.size) for blob in self._store.stored() if blob.modified_ms <= limit)
        while batch := dict(islice(old, _BATCH)):
            yield batch
