"""The tables of trusted publishing: who may become whom, and which assertions were used."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table


class Publisher(Table):
    """A program of an issuer, known by claims, that gets short-lived tokens of a user for some repositories."""

    __tablename__ = "publishers"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    pattern: Mapped[str]
    scope: Mapped[str]
    issuer: Mapped[str] = mapped_column(index=True)
    audience: Mapped[str]
    claims: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class UsedAssertion(Table):
    """An assertion that was exchanged, by the sha256 of issuer and `jti`, kept until nobody would take it anyway.

    A sign-in that was finished is here too, by the sha256 of its state.
    """

    __tablename__ = "used_assertions"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    expires_ms: Mapped[int] = mapped_column(BigInteger, index=True)
