"""Evaluation sets, and the index by which figures are found by their rows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BYTE_ORDER = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables and the index."""
    op.create_table(
        "evaluation_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("full_name", sa.String(), nullable=False),
        sa.Column("lookup", _BYTE_ORDER, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("newest", sa.String(), nullable=False),
        sa.Column("search_text", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("lookup"),
    )
    op.create_index(op.f("ix_evaluation_sets_namespace_id"), "evaluation_sets", ["namespace_id"], unique=False)
    op.create_index(op.f("ix_evaluation_sets_updated_ms"), "evaluation_sets", ["updated_ms"], unique=False)
    op.create_table(
        "evaluation_set_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_set_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("rows_sha256", _BYTE_ORDER, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("rows_blob", sa.String(), nullable=True),
        sa.Column("rows_bytes", sa.BigInteger(), nullable=True),
        sa.Column("published_ms", sa.BigInteger(), nullable=False),
        sa.Column("published_by", sa.String(), nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["evaluation_set_id"], ["evaluation_sets.id"]),
        sa.ForeignKeyConstraint(["rows_blob"], ["blobs.sha256"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("evaluation_set_id", "version"),
    )
    for column in ("digest", "rows_sha256", "rows_blob"):
        name = op.f(f"ix_evaluation_set_versions_{column}")
        op.create_index(name, "evaluation_set_versions", [column], unique=False)
    op.create_index("ix_module_metrics_sha256", "module_metrics", ["sha256", "metric", "value", "repository_id"])
