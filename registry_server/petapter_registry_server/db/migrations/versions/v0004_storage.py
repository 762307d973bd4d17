"""Blobs that are condemned or damaged, and how far a scrub came."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("blobs", sa.Column("condemned_ms", sa.BigInteger(), nullable=True))
    op.add_column("blobs", sa.Column("damaged_ms", sa.BigInteger(), nullable=True))
    op.create_table(
        "scrubs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("after_sha256", sa.String(), nullable=False),
        sa.Column("blobs", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("damaged", sa.BigInteger(), nullable=False),
        sa.Column("healed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
