"""Which evaluation set an event for a webhook tells of: whoever may not see the set may not hear of it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Events on their way to webhooks go out as they would have before."""
    op.add_column("webhook_deliveries", sa.Column("evaluation_set_id", sa.Integer(), nullable=True))
