"""What each figure that search knows is worth: declared, or measured again, so that a search can ask for verified ones."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_EVALUATIONS = sa.text(
    "SELECT i.repository_id, e.rows_sha256, e.by_worker, e.metrics FROM module_index i"
    " JOIN manifests m ON m.commit_oid = i.commit_oid"
    " JOIN evaluations e ON e.repository_id = i.repository_id AND e.manifest_sha256 = m.digest"
    " LEFT JOIN worker_keys k ON k.sha256 = e.key_sha256 WHERE k.revoked_ms IS NULL"
    " ORDER BY e.by_worker, e.measured_ms, e.id"
)
"""Of each module and rows the one that counts comes last."""
_UPDATE = sa.text(
    "UPDATE module_metrics SET status = :status"
    " WHERE repository_id = :repository_id AND sha256 = :sha256 AND metric = :metric"
)


def upgrade() -> None:
    """Add the column, and fill it. What a server of the release before indexes meanwhile is declared until a reindex."""
    op.add_column("module_metrics", sa.Column("status", sa.String(), nullable=False, server_default="declared"))
    op.create_index("ix_module_metrics_status", "module_metrics", ["status", "metric", "value", "repository_id"])
    connection = op.get_bind()
    typed = _EVALUATIONS.columns(
        repository_id=sa.Integer(), rows_sha256=sa.String(), by_worker=sa.Boolean(), metrics=sa.JSON()
    )
    counting = {(row.repository_id, row.rows_sha256): row for row in connection.execute(typed)}
    for row in counting.values():
        for values in _statuses(row):
            connection.execute(_UPDATE, values)


def _statuses(row: Any) -> Iterator[dict[str, object]]:  # noqa: ANN401 (a row)
    measured = "verified" if row.by_worker else "reproduced"
    for figure in row.metrics if isinstance(row.metrics, list) else ():
        if figure["is_within"] is not None:
            yield {
                "repository_id": row.repository_id,
                "sha256": row.rows_sha256,
                "metric": figure["metric"],
                "status": measured if figure["is_within"] else "disputed",
            }
