"""Versions, channels and the search index; tags that name the version of the module they stand on become versions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BYTE_ORDER = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, and a version of every tag that is one. The first start afterwards fills the index."""
    op.create_table(
        "module_versions",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("commit_oid", sa.String(), nullable=False),
        sa.Column("published_ms", sa.BigInteger(), nullable=False),
        sa.Column("published_by", sa.String(), nullable=False),
        sa.Column("yanked_ms", sa.BigInteger(), nullable=True),
        sa.Column("yanked_by", sa.String(), nullable=True),
        sa.Column("yank_reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["commit_oid"], ["commits.oid"]),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("repository_id", "version"),
    )
    op.create_index(op.f("ix_module_versions_commit_oid"), "module_versions", ["commit_oid"], unique=False)
    op.create_table(
        "channel_moves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_channel_moves_repository_id_name", "channel_moves", ["repository_id", "name", "id"])
    op.create_table(
        "module_facts",
        sa.Column("commit_oid", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["commit_oid"], ["commits.oid"]),
        sa.PrimaryKeyConstraint("commit_oid"),
    )
    op.create_table(
        "module_index",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("commit_oid", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("name", _BYTE_ORDER, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["commit_oid"], ["commits.oid"]),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("repository_id"),
    )
    op.create_index("ix_module_index_updated_ms", "module_index", ["updated_ms", "repository_id"])
    op.create_index("ix_module_index_name", "module_index", ["name", "repository_id"])
    op.create_index("ix_module_index_size_bytes", "module_index", ["size_bytes", "repository_id"])
    op.create_table(
        "module_terms",
        sa.Column("term", _BYTE_ORDER, nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("term", "updated_ms", "repository_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_module_terms_repository_id", "module_terms", ["repository_id", "term"])
    op.create_table(
        "module_metrics",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("evaluation_set", sa.String(), nullable=False),
        sa.Column("sha256", _BYTE_ORDER, nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("repository_id", "position"),
    )
    op.create_index(
        "ix_module_metrics_value", "module_metrics", ["metric", "evaluation_set", "value", "repository_id"]
    )
    op.execute(
        "INSERT INTO module_versions (repository_id, version, commit_oid, published_ms, published_by)"
        " SELECT refs.repository_id, manifests.version, commits.oid, commits.created_ms, commits.author FROM refs"
        " JOIN commits ON commits.oid = refs.commit_oid JOIN manifests ON manifests.commit_oid = commits.oid"
        " WHERE refs.kind = 'tag' AND refs.name = 'v' || manifests.version"
    )
