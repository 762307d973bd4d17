"""Whether database and blobs belong together: over the wrong ones garbage collection would delete what others need."""

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.own_values import known_value, own_value
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.storage.blobs import BlobShelf

IDENTITY = "identity"
"""What the value is for by which blobs know their database."""


def check_belonging(database: Database, store: BlobShelf) -> None:
    """Refuse blobs of another registry; blobs that nobody has claimed are claimed.

    Raises:
        DataDirectoryError: They are of another one.
        StoreError: The blob store does not answer.
    """
    with database.write() as session:
        identity = own_value(session, IDENTITY)
    if store.claim(identity) != identity:
        raise DataDirectoryError(_stranger(database))


def look_at_belonging(database: Database, store: BlobShelf) -> None:
    """As `check_belonging`, of a database with the tables of this version, and nothing is claimed. Raises: as there."""
    with database.read() as session:
        identity = known_value(session, IDENTITY)
    owner = store.owner()
    if owner is not None and owner != identity:
        raise DataDirectoryError(_stranger(database))


def _stranger(database: Database) -> str:
    return (
        f"{database.name} and these blobs belong to two registries: give the database and the blobs that belong "
        "together, or restore a backup to a new place"
    )
