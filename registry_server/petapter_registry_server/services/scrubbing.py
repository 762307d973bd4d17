"""Scrubbing: every blob is read and hashed again; what is damaged is moved aside, and healed where a copy exists.

A scrub that is cut short goes on where it stopped. Damage is looked at again while the blob's row is locked, so that a
push that heals it at that moment is not undone.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, blobs, scrubs
from petapter_registry_server.db.blobs import KnownBlob
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.scrubs import Progress
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.storage.blobs import BlobShelf, BlobStore

_BATCH = 100
ACTOR = "(scrub)"
"""Who the audit says found damage."""

Finding = Literal["missing", "of another size", "of other content"]


@dataclass(frozen=True)
class Damage:
    """A damaged blob: what is wrong, some of the files that it belongs to, and whether it was healed."""

    sha256: str
    finding: Finding
    files: tuple[str, ...]
    is_healed: bool


class Scrubbing:
    """Scrubs one registry; `replica` is where good copies may be."""

    def __init__(self, database: Database, store: BlobShelf, replica: BlobStore | None = None) -> None:
        self._database = database
        self._store = store
        self._replica = replica

    def run(self, report: Callable[[Damage], object]) -> Progress:
        """Check all blobs that are not condemned, from where the last scrub was cut short, and report each damaged one.

        Raises:
            StoreError: The blob store does not answer.
        """
        with self._database.read() as session:
            progress = scrubs.progress(session)
        while batch := self._batch_after(progress.after_sha256):
            damages = list(self._damages(batch))
            for damage in damages:
                report(damage)
            progress = progress.after(batch, damaged=len(damages), healed=sum(damage.is_healed for damage in damages))
            with self._database.write() as session:
                scrubs.save(session, progress)
        with self._database.write() as session:
            scrubs.forget(session)
        return progress

    def _batch_after(self, sha256: str) -> list[KnownBlob]:
        with self._database.read() as session:
            return list(blobs.list_after(session, sha256, limit=_BATCH))

    def _damages(self, batch: Iterable[KnownBlob]) -> Iterable[Damage]:
        for blob in batch:
            if not blob.is_damaged and finding_of(self._store, blob) is None:
                continue
            finding = self._quarantine(blob)
            if finding is not None:
                with self._database.read() as session:
                    files = blobs.files_of(session, blob.sha256)
                yield Damage(blob.sha256, finding, tuple(files), self._heal(blob))

    def _quarantine(self, blob: KnownBlob) -> Finding | None:
        """Move damaged bytes aside and mark the row, unless they are good by now."""
        with self._database.write() as session:
            row = blobs.find(session, blob.sha256)
            if row is None or row.condemned_ms is not None:
                return None
            finding = finding_of(self._store, blob)
            if finding is None:
                row.damaged_ms = None
            elif row.damaged_ms is None:
                self._store.set_aside(blob.sha256)
                row.damaged_ms = now_ms()
                audit.record(session, actor=ACTOR, action="blob.damaged", subject=blob.sha256, detail=finding)
            return finding

    def _heal(self, blob: KnownBlob) -> bool:
        """Whether the replica had good bytes, which are stored then."""
        if self._replica is None or self._replica.size(blob.sha256) != blob.size:
            return False
        with self._store.scratch() as scratch:
            copy = scratch / "copy"
            if _fetch(self._replica, blob, copy) != blob.sha256:
                return False
            self._store.promote({blob.sha256: copy})
            with self._database.write() as session:
                hold_bytes(session, self._store, {blob.sha256: copy})
                audit.record(session, actor=ACTOR, action="blob.healed", subject=blob.sha256)
        return True


def finding_of(store: BlobStore, blob: KnownBlob) -> Finding | None:
    """What is wrong with the stored bytes of a blob; None when they are good."""
    try:
        content = store.open(blob.sha256)
    except FileNotFoundError:
        return "missing"
    if content.size != blob.size:
        return "of another size"
    digest = hashlib.sha256()
    for chunk in content.chunks:
        digest.update(chunk)
    return None if digest.hexdigest() == blob.sha256 else "of other content"


def _fetch(store: BlobStore, blob: KnownBlob, target: Path) -> str:
    """Copy a blob to a file and return the digest of what was copied."""
    digest = hashlib.sha256()
    with target.open("wb") as stream:
        for chunk in store.open(blob.sha256).chunks:
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()
