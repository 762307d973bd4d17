"""The tables about people beyond tables.py: grants on one module, quotas, and the end of the audit's chain."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table


class Grant(Table):
    """A user's role on one repository, beside what the user is to its namespace."""

    __tablename__ = "grants"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)


class AuditHead(Table):
    """The last row of the audit, in one row (id 1): so the chain has one end and its loss shows."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    row_id: Mapped[int]
    sha256: Mapped[str]


class QuotaRow(Table):
    """What a namespace may hold, where that is not what every namespace may; None is without limit."""

    __tablename__ = "quotas"

    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id"), primary_key=True)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_repositories: Mapped[int | None]
