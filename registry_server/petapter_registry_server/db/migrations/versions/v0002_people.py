"""Roles, grants on one module, fine-grained tokens, quotas, trusted publishers, logins by browser, and the audit as a chain."""

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables and carry over what is in them."""
    op.add_column("users", sa.Column("disabled_ms", sa.BigInteger(), nullable=True))
    for column in (
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("scope", sa.String(), nullable=True),
        sa.Column("pattern", sa.String(), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
    ):
        op.add_column("tokens", column)
    op.execute("UPDATE memberships SET role = 'admin' WHERE role = 'owner'")
    op.create_table(
        "grants",
        sa.Column("repository_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["repository_id"], ["repositories.id"]),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("repository_id", "user_id"),
    )
    op.create_index(op.f("ix_grants_user_id"), "grants", ["user_id"], unique=False)
    op.create_table(
        "quotas",
        sa.Column("namespace_id", sa.Integer(), nullable=False),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_repositories", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["namespace_id"], ["namespaces.id"]),
        sa.PrimaryKeyConstraint("namespace_id"),
    )
    _make_publishers()
    _make_device_logins()
    _chain_audit()


def _make_device_logins() -> None:
    op.create_table(
        "device_logins",
        sa.Column("device_sha256", sa.String(), nullable=False),
        sa.Column("user_code", sa.String(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("token_expires_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("device_sha256"),
        sa.UniqueConstraint("user_code"),
    )
    op.create_index(op.f("ix_device_logins_expires_ms"), "device_logins", ["expires_ms"], unique=False)


def _make_publishers() -> None:
    op.create_table(
        "publishers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("audience", sa.String(), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_publishers_issuer"), "publishers", ["issuer"], unique=False)
    op.create_table(
        "used_assertions",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_index(op.f("ix_used_assertions_expires_ms"), "used_assertions", ["expires_ms"], unique=False)


def _chain_audit() -> None:
    """Give every row its sha256, and write down where the chain ends; db/audit.py says what the sha256 is over."""
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("row_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("audit", sa.Column("sha256", sa.String(), nullable=True))
    last, previous = 0, "0" * 64
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT id, at_ms, actor, action, subject, detail FROM audit ORDER BY id")
    ).all()
    for row in rows:
        content = json.dumps([previous, *row], separators=(",", ":"))
        last, previous = row.id, sha256(content.encode("ascii")).hexdigest()
        connection.execute(sa.text("UPDATE audit SET sha256 = :sha256 WHERE id = :id"), {"sha256": previous, "id": last})
    op.bulk_insert(head, [{"id": 1, "row_id": last, "sha256": previous}])
    with op.batch_alter_table("audit") as batch:
        batch.alter_column("sha256", existing_type=sa.String(), nullable=False)
