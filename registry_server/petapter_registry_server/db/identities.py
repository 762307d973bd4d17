"""Whom identity providers know users as."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.db.tables import Table, User


class Identity(Table):
    """Somebody at an issuer, who is one user here; `token_id` is the token that this one's logins stand for."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    token_id: Mapped[int | None] = mapped_column(ForeignKey("tokens.id"))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    used_ms: Mapped[int | None] = mapped_column(BigInteger)


def find_identity(session: Session, issuer: str, subject: str) -> tuple[Identity, User] | None:
    """An identity with its user."""
    row = session.execute(
        select(Identity, User)
        .join(User, User.id == Identity.user_id)
        .where(Identity.issuer == issuer, Identity.subject == subject)
    ).one_or_none()
    return (row[0], row[1]) if row else None


def list_identities(session: Session, user_id: int | None = None) -> Sequence[tuple[Identity, str]]:
    """Identities of one user, or of all, with the names of their users, oldest first."""
    statement = select(Identity, User.name).join(User, User.id == Identity.user_id).order_by(Identity.id)
    if user_id is not None:
        statement = statement.where(Identity.user_id == user_id)
    return [(identity, name) for identity, name in session.execute(statement)]
