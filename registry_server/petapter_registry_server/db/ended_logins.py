"""Logins in browsers that somebody ended, kept until their cookies would not be taken anyway."""

from sqlalchemy import BigInteger, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.db.tables import Table


class EndedLogin(Table):
    """A login by the sha256 of its id."""

    __tablename__ = "ended_logins"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    forget_ms: Mapped[int] = mapped_column(BigInteger, index=True)


def end(session: Session, sha256: str, *, forget_ms: int, at_ms: int) -> None:
    """Write down that a login has ended, and forget those whose cookies are too old by now."""
    session.execute(delete(EndedLogin).where(EndedLogin.forget_ms <= at_ms))
    session.merge(EndedLogin(sha256=sha256, forget_ms=forget_ms))


def has_ended(session: Session, sha256: str) -> bool:
    """Whether somebody ended this login."""
    return session.get(EndedLogin, sha256) is not None
