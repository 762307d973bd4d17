"""The table that belongs to the upkeep of blobs; the blobs themselves are in db/tables.py."""

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table


class Scrub(Table):
    """A scrub that is not finished: the last blob that it saw and its counts so far. There is at most the row 1."""

    __tablename__ = "scrubs"

    id: Mapped[int] = mapped_column(primary_key=True)
    after_sha256: Mapped[str]
    blobs: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    damaged: Mapped[int] = mapped_column(BigInteger)
    healed: Mapped[int] = mapped_column(BigInteger)
