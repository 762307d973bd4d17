"""Trusted publishers, and the assertions that they used."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.publisher_tables import Publisher, UsedAssertion
from petapter_registry_server.db.tables import User


def list_publishers(session: Session, user_id: int) -> Sequence[Publisher]:
    """The publishers that act as a user, oldest first."""
    return session.scalars(select(Publisher).where(Publisher.user_id == user_id).order_by(Publisher.id)).all()


def of_issuer(session: Session, issuer: str) -> Sequence[tuple[Publisher, User]]:
    """The publishers of an issuer with their users, without disabled ones, oldest first."""
    rows = session.execute(
        select(Publisher, User)
        .join(User, User.id == Publisher.user_id)
        .where(Publisher.issuer == issuer, User.disabled_ms.is_(None))
        .order_by(Publisher.id)
    )
    return [(publisher, user) for publisher, user in rows]


def use_assertion(session: Session, sha256: str, *, expires_ms: int, at_ms: int) -> bool:
    """Write down that an assertion was used; False when it was before."""
    session.execute(delete(UsedAssertion).where(UsedAssertion.expires_ms < at_ms))
    if session.get(UsedAssertion, sha256) is not None:
        return False
    session.add(UsedAssertion(sha256=sha256, expires_ms=expires_ms))
    return True
