"""The tables of evaluation sets; times as in tables.py."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.module_tables import ByteOrder
from petapter_registry_server.db.tables import Table


class EvaluationSet(Table):
    """A name of evaluation sets, kept for ever. `lookup` and `key` as of repositories; `newest` is what lists show.

    `search_text` is what the newest version says of itself: its words, case-folded, with a space before each.
    """

    __tablename__ = "evaluation_sets"

    id: Mapped[int] = mapped_column(primary_key=True)
    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id"), index=True)
    full_name: Mapped[str]
    lookup: Mapped[str] = mapped_column(ByteOrder, unique=True)
    key: Mapped[str] = mapped_column(unique=True)
    private: Mapped[bool]
    newest: Mapped[str]
    search_text: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class EvaluationSetVersion(Table):
    """A published version of a set, which never changes. `document` is its evaluation-set.json.

    Attributes:
        digest: Of the document, rows and all (`EvaluationSetSpec.digest`).
        rows_sha256: By which figures name the rows.
        rows_blob: The blob of rows.jsonl, whose name is another digest; None where nobody gave the rows.
        rows_bytes: Its size.
        withdrawn_ms: When the rows were taken back; what names them stays.
    """

    __tablename__ = "evaluation_set_versions"
    __table_args__ = (UniqueConstraint("evaluation_set_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_set_id: Mapped[int] = mapped_column(ForeignKey("evaluation_sets.id"))
    version: Mapped[str]
    digest: Mapped[str] = mapped_column(index=True)
    rows_sha256: Mapped[str] = mapped_column(ByteOrder, index=True)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    rows_blob: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    rows_bytes: Mapped[int | None] = mapped_column(BigInteger)
    published_ms: Mapped[int] = mapped_column(BigInteger)
    published_by: Mapped[str]
    withdrawn_ms: Mapped[int | None] = mapped_column(BigInteger)
    withdrawn_by: Mapped[str | None]
