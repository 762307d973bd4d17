"""Alembic's entry point: runs the steps on the connection that db/engine.py hands over."""

from alembic import context

from petapter_registry_server.db import downloads, former_names, gates, people_tables, uploads  # noqa: F401 (tables)
from petapter_registry_server.db.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
