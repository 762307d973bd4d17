"""The record of changes."""

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import AuditRow


def record(session: Session, *, actor: str, action: str, subject: str, detail: str = "") -> None:
    """Write down who did what to what, in the transaction of the deed."""
    session.add(AuditRow(at_ms=now_ms(), actor=actor, action=action, subject=subject, detail=detail))
