"""The tables of versions, channels and the search index, beside those of tables.py; times as there."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table

ByteOrder = String().with_variant(String(collation="C"), "postgresql")
"""Text that is compared byte by byte on every database, so that a range finds what begins with something."""


class ModuleVersion(Table):
    """A published version. Rows are never deleted and never change but for their yank."""

    __tablename__ = "module_versions"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), index=True)
    published_ms: Mapped[int] = mapped_column(BigInteger)
    published_by: Mapped[str]
    yanked_ms: Mapped[int | None] = mapped_column(BigInteger)
    yanked_by: Mapped[str | None]
    yank_reason: Mapped[str | None]


class ChannelMove(Table):
    """One step in the history of a channel, which stands where its last step went; `version` None ended it."""

    __tablename__ = "channel_moves"
    __table_args__ = (Index("ix_channel_moves_repository_id_name", "repository_id", "name", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    name: Mapped[str]
    version: Mapped[str | None]
    at_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str]


class CommitFacts(Table):
    """What was derived from the verified files of a commit that holds a module or a peft adapter (`ModuleFacts`)."""

    __tablename__ = "module_facts"

    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), primary_key=True)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)


class IndexedModule(Table):
    """A repository that search can find, at the one commit that search looks at."""

    __tablename__ = "module_index"
    __table_args__ = (
        Index("ix_module_index_updated_ms", "updated_ms", "repository_id"),
        Index("ix_module_index_name", "name", "repository_id"),
        Index("ix_module_index_size_bytes", "size_bytes", "repository_id"),
    )

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"))
    version: Mapped[str | None]
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(ByteOrder)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class IndexedTerm(Table):
    """A property that an indexed module has, such as `label:very good`; in the order that lists show them."""

    __tablename__ = "module_terms"
    __table_args__ = (
        Index("ix_module_terms_repository_id", "repository_id", "term"),
        {"sqlite_with_rowid": False},
    )

    term: Mapped[str] = mapped_column(ByteOrder, primary_key=True)
    updated_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)


class IndexedMetric(Table):
    """A measured figure of an indexed module; `evaluation_set` is case-folded, `status` what it is worth here."""

    __tablename__ = "module_metrics"
    __table_args__ = (
        Index("ix_module_metrics_value", "metric", "evaluation_set", "value", "repository_id"),
        Index("ix_module_metrics_sha256", "sha256", "metric", "value", "repository_id"),
        Index("ix_module_metrics_status", "status", "metric", "value", "repository_id"),
    )

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    metric: Mapped[str]
    evaluation_set: Mapped[str]
    sha256: Mapped[str] = mapped_column(ByteOrder)
    value: Mapped[float] = mapped_column(Double)
    status: Mapped[str] = mapped_column(server_default="declared")
