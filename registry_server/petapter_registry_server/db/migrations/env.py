"""Alembic's entry point: runs the steps on the connection that db/engine.py hands over."""

from alembic import context

from petapter_registry_server.db import (  # noqa: F401 (their tables join the metadata)
    device_tables,
    downloads,
    former_names,
    gates,
    module_tables,
    own_values,
    people_tables,
    publisher_tables,
    storage_tables,
    uploads,
)
from petapter_registry_server.db.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
