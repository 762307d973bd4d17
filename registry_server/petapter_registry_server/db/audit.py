"""The record of changes: each row's sha256 is over its content and the row before, so that no row changes unseen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import event, select
from sqlalchemy.orm import Session, sessionmaker

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.people_tables import AuditHead
from petapter_registry_server.db.tables import AuditRow

GENESIS = "0" * 64
"""What stands for the row before the first."""
_HEAD = 1
_WAITING = "audit rows of this transaction"


@dataclass(frozen=True)
class Entry:
    """One row without its place in the chain."""

    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str

    def sha256_after(self, previous: str, row_id: int) -> str:
        """The row's sha256: over JSON of the previous one, the id and the five fields, ASCII, without spaces."""
        content = [previous, row_id, self.at_ms, self.actor, self.action, self.subject, self.detail]
        return sha256(json.dumps(content, separators=(",", ":")).encode("ascii")).hexdigest()


def record(session: Session, *, actor: str, action: str, subject: str, detail: str = "") -> None:
    """Write down who did what to what: the row is part of the transaction of the deed, and enters the chain with it."""
    session.info.setdefault(_WAITING, []).append(Entry(now_ms(), actor, action, subject, detail))


def chain_at_commit(sessions: sessionmaker[Session]) -> None:
    """Let the sessions of a factory put what they recorded at the end of the chain when they commit.

    Writes take turns, so two never read the same end.
    """
    event.listen(sessions, "before_commit", _chain)


def read_after(session: Session, row_id: int, *, limit: int) -> Sequence[AuditRow]:
    """The rows that follow a row, oldest first; 0 begins at the first."""
    return session.scalars(
        select(AuditRow)
        .where(AuditRow.id > row_id)
        .order_by(AuditRow.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()


def read_before(session: Session, row_id: int | None, *, limit: int) -> Sequence[AuditRow]:
    """The rows before a row, newest first; None begins at the last."""
    statement = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit).execution_options(populate_existing=True)
    return session.scalars(statement if row_id is None else statement.where(AuditRow.id < row_id)).all()


def read_head(session: Session) -> AuditHead:
    """The end of the chain."""
    return session.get_one(AuditHead, _HEAD)


def entry_of(row: AuditRow) -> Entry:
    """What a row says."""
    return Entry(row.at_ms, row.actor, row.action, row.subject, row.detail)


def _chain(session: Session) -> None:
    waiting: list[Entry] = session.info.pop(_WAITING, [])
    if not waiting:
        return
    head = read_head(session)
    for entry in waiting:
        digest = entry.sha256_after(head.sha256, head.row_id + 1)
        head.row_id, head.sha256 = head.row_id + 1, digest
        session.add(
            AuditRow(
                id=head.row_id,
                at_ms=entry.at_ms,
                actor=entry.actor,
                action=entry.action,
                subject=entry.subject,
                detail=entry.detail,
                sha256=digest,
            )
        )
