"""The audit as its readers meet it: pages, export, and the proof that nobody touched it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import audit
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import AuditRow
from petapter_registry_server.errors import DamagedAuditError

_CHUNK = 1000


@dataclass(frozen=True)
class AuditLine:
    """One row, with what its sha256 is over besides the sha256 of the row before."""

    id: int
    at: str
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str
    sha256: str


@dataclass(frozen=True)
class AuditEnd:
    """The last row: who keeps these two elsewhere can prove later that nothing before it changed."""

    id: int
    sha256: str


class AuditLog:
    """The audit of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, after: int, *, limit: int) -> Sequence[AuditLine]:
        """The rows that follow a row, oldest first; 0 begins at the first."""
        with self._database.read() as session:
            return [audit_line(row) for row in audit.read_after(session, after, limit=limit)]

    def newest(self, before: int | None, *, limit: int) -> Sequence[AuditLine]:
        """The rows before a row, newest first; None begins at the last."""
        with self._database.read() as session:
            return [audit_line(row) for row in audit.read_before(session, before, limit=limit)]

    def lines(self) -> Iterator[AuditLine]:
        """All rows, oldest first."""
        with self._database.read() as session:
            yield from (audit_line(row) for row in _rows(session))

    def verify(self, known: AuditEnd | None = None) -> AuditEnd:
        """Compute the whole chain again, and return its end.

        Raises:
            DamagedAuditError: A row is not what it was, or is missing, or `known`, noted earlier, is no row of it.
        """
        with self._database.read() as session:
            end, met = AuditEnd(0, audit.GENESIS), known is None or known == AuditEnd(0, audit.GENESIS)
            for row in _rows(session):
                digest = audit.entry_of(row).sha256_after(end.sha256, row.id)
                if digest != row.sha256:
                    raise DamagedAuditError(f"row {row.id} of the audit, or the one before, is not what was written")
                end = AuditEnd(row.id, digest)
                met = met or end == known
            head = audit.read_head(session)
        if end != AuditEnd(head.row_id, head.sha256):
            raise DamagedAuditError(f"the audit ends at row {end.id}, and row {head.row_id} was written last")
        if not met:
            raise DamagedAuditError(f"the audit has no row {known.id if known else 0} with that sha256 any more")
        return end


def _rows(session: Session) -> Iterator[AuditRow]:
    after = 0
    while rows := audit.read_after(session, after, limit=_CHUNK):
        yield from rows
        after = rows[-1].id


def audit_line(row: AuditRow) -> AuditLine:
    """A row as readers meet it."""
    return AuditLine(row.id, hub_date(row.at_ms), row.at_ms, row.actor, row.action, row.subject, row.detail, row.sha256)
