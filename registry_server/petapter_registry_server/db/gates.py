"""Gated repositories, and who asked to get in."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Table, User


class Gate(Table):
    """A repository whose files are for those who asked: `mode` is "auto", who asks is let in, or "manual"."""

    __tablename__ = "gates"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    mode: Mapped[str]


class AccessRequest(Table):
    """A user who asked, or was let in unasked: `status` is "pending", "accepted" or "rejected"."""

    __tablename__ = "access_requests"
    __table_args__ = (UniqueConstraint("repository_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str]
    reason: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)


def read_modes(session: Session, repository_ids: Sequence[int]) -> dict[int, str]:
    """By repository, the mode of those that are gated."""
    rows = session.execute(select(Gate.repository_id, Gate.mode).where(Gate.repository_id.in_(repository_ids)))
    return {row.repository_id: row.mode for row in rows}


def set_mode(session: Session, repository_id: int, mode: str | None) -> None:
    """Gate a repository, or open it; requests stay as they are."""
    gate = session.get(Gate, repository_id)
    if mode is None:
        if gate is not None:
            session.delete(gate)
    elif gate is None:
        session.add(Gate(repository_id=repository_id, mode=mode))
    else:
        gate.mode = mode


def find_request(session: Session, repository_id: int, user_id: int) -> AccessRequest | None:
    """What became of a user's request."""
    return session.scalar(
        select(AccessRequest).where(AccessRequest.repository_id == repository_id, AccessRequest.user_id == user_id)
    )


def add_request(session: Session, repository_id: int, user_id: int, status: str) -> None:
    """Note a request."""
    session.add(
        AccessRequest(repository_id=repository_id, user_id=user_id, status=status, reason="", created_ms=now_ms())
    )


def list_requests(session: Session, repository_id: int, status: str) -> Sequence[tuple[AccessRequest, str]]:
    """The requests of a status, oldest first, each with the user's name."""
    rows = session.execute(
        select(AccessRequest, User.name)
        .join(User, User.id == AccessRequest.user_id)
        .where(AccessRequest.repository_id == repository_id, AccessRequest.status == status)
        .order_by(AccessRequest.id)
    )
    return [(request, name) for request, name in rows]
