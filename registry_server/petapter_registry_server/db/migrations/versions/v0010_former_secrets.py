"""The former secrets of webhooks, which sign for a while beside the new ones."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. A server of the release before signs with the new secret alone."""
    op.add_column("webhooks", sa.Column("former_secret", sa.String(), nullable=True))
    op.add_column("webhooks", sa.Column("former_until_ms", sa.BigInteger(), nullable=True))
