"""Former names of repositories, and counts of downloads."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "former_names",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("lookup", sa.String(), nullable=False),
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("leads_on", sa.Boolean(), nullable=False),
        sa.Column("moved_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("lookup"),
    )
    op.create_index(op.f("ix_former_names_repository_id"), "former_names", ["repository_id"], unique=False)
    op.create_table(
        "download_totals",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.PrimaryKeyConstraint("repository_id"),
    )
    op.create_index(op.f("ix_download_totals_total"), "download_totals", ["total"], unique=False)
