"""Evaluations of modules on evaluation sets: jobs, results, and the keys of those who measure for the registry."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BYTE_ORDER = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "worker_keys",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sha256"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("commit_oid", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("evaluation_set_version_id", sa.Integer(), nullable=False),
        sa.Column("rows_sha256", _BYTE_ORDER, nullable=False),
        sa.Column("evaluation_set", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("by_worker", sa.Boolean(), nullable=False),
        sa.Column("measured_by", sa.String(), nullable=False),
        sa.Column("key_sha256", sa.String(), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("confusion", sa.JSON(), nullable=True),
        sa.Column("envelope", sa.String(), nullable=False),
        sa.Column("measured_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.ForeignKeyConstraint(["commit_oid"], ["commits.oid"]),
        sa.ForeignKeyConstraint(["evaluation_set_version_id"], ["evaluation_set_versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_evaluations_repository_id",
        "evaluations",
        ["repository_id", "manifest_sha256", "rows_sha256", "measured_ms"],
    )
    op.create_index("ix_evaluations_rows_sha256", "evaluations", ["rows_sha256", "repository_id"])
    op.create_table(
        "evaluation_jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("commit_oid", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("evaluation_set_version_id", sa.Integer(), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("claim", sa.String(), nullable=True),
        sa.Column("lease_ms", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("evaluation_id", sa.Integer(), nullable=True),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.ForeignKeyConstraint(["commit_oid"], ["commits.oid"]),
        sa.ForeignKeyConstraint(["evaluation_set_version_id"], ["evaluation_set_versions.id"]),
        sa.ForeignKeyConstraint(["evaluation_id"], ["evaluations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_evaluation_jobs_status", "evaluation_jobs", ["status", "created_ms"])
    op.create_index("ix_evaluation_jobs_repository_id", "evaluation_jobs", ["repository_id", "created_ms"])
