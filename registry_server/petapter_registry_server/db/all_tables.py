"""All tables of the registry: importing this file makes SQLAlchemy know the tables of every file in this folder."""

from petapter_registry_server.db import (  # noqa: F401 (their tables join the metadata)
    device_tables,
    downloads,
    ended_logins,
    evaluation_set_tables,
    evaluation_tables,
    former_names,
    gates,
    identities,
    module_tables,
    own_values,
    people_tables,
    publisher_tables,
    storage_tables,
    uploads,
    webhook_tables,
)
from petapter_registry_server.db.tables import Table

METADATA = Table.metadata
