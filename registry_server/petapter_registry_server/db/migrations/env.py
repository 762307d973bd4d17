"""Alembic's entry point: runs the steps on the connection that db/engine.py hands over."""

from alembic import context

from petapter_registry_server.db.all_tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
