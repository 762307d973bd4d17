"""How far a scrub came, so that one that was cut short goes on there."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.db.blobs import KnownBlob
from petapter_registry_server.db.storage_tables import Scrub

_ONLY = 1


@dataclass(frozen=True)
class Progress:
    """The last blob that was checked, and counts from the beginning of the scrub to it."""

    after_sha256: str = ""
    blobs: int = 0
    bytes: int = 0
    damaged: int = 0
    healed: int = 0

    def after(self, batch: Sequence[KnownBlob], *, damaged: int, healed: int) -> "Progress":
        """The progress when a batch in the order of digests is checked."""
        return Progress(
            after_sha256=batch[-1].sha256,
            blobs=self.blobs + len(batch),
            bytes=self.bytes + sum(blob.size for blob in batch),
            damaged=self.damaged + damaged,
            healed=self.healed + healed,
        )


def progress(session: Session) -> Progress:
    """Where the scrub that was cut short stopped, or the beginning."""
    row = session.get(Scrub, _ONLY)
    return Progress(row.after_sha256, row.blobs, row.bytes, row.damaged, row.healed) if row else Progress()


def save(session: Session, done: Progress) -> None:
    """Note how far it came."""
    session.merge(
        Scrub(
            id=_ONLY,
            after_sha256=done.after_sha256,
            blobs=done.blobs,
            bytes=done.bytes,
            damaged=done.damaged,
            healed=done.healed,
        )
    )


def forget(session: Session) -> None:
    """The next scrub begins at the beginning."""
    row = session.get(Scrub, _ONLY)
    if row is not None:
        session.delete(row)
