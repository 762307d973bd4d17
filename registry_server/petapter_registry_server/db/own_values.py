"""Random values that a registry gives itself once and keeps: all servers over one database share them."""

import secrets

from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.db.tables import Table


class OwnValue(Table):
    """A value in hex by what it is for."""

    __tablename__ = "own_values"

    purpose: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


def known_value(session: Session, purpose: str) -> str | None:
    """The value for a purpose, if it was made already."""
    found = session.get(OwnValue, purpose)
    return found.value if found else None


def own_value(session: Session, purpose: str) -> str:
    """The value for a purpose, 32 random bytes in hex, made when it is first asked for."""
    found = session.get(OwnValue, purpose)
    if found is None:
        found = OwnValue(purpose=purpose, value=secrets.token_hex(32))
        session.add(found)
        session.flush()
    return found.value
