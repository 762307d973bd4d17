"""Backup and restore: the database first, then every blob that it promises; both appear whole or not at all.

The order is what makes a backup of a running registry consistent: bytes are there before a row promises them, and
garbage collection waits for its grace before it deletes any, so all that the copied database promises can still be
copied after it. A backup is laid out as a data directory over SQLite, whatever the registry runs on.
"""

from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.blobs import KnownBlob
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.snapshot import check_unused, load_snapshot, save_snapshot
from petapter_registry_server.db.sqlite_copy import copy_file, promised_blobs
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.verified_copy import copy_verified
from petapter_registry_server.storage.appearing import appearing
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.durable import make_durable_directory, sync_directory, sync_file
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_registry_server.storage.opening import open_store

_SCRUB = (
    "run 'petapter-registry scrub', which says which files need it; when none does, the backup took longer than the"
    " grace of garbage collection: raise gc_grace_s"
)
_ANOTHER = "use another backup"


@dataclass(frozen=True)
class Copied:
    """How much was copied."""

    blobs: int
    bytes: int


def back_up(database: Database, store: BlobShelf, target: Path) -> Copied:
    """Copy a registry, which may be serving, to a new directory. Local blobs get a second name where that is possible.

    Raises:
        DataDirectoryError: The target is there already, or a promised blob is missing or found damaged.
        DatabaseUnavailableError: The database does not answer.
        StoreError: The blob store does not answer.
    """
    with appearing(target) as place:
        file = DataDirectory(place).database
        save_snapshot(database, file)
        promised = promised_blobs(file)
        for blob in promised:
            _copy_blob(blob, store, place)
        sync_file(file)
    return Copied(len(promised), sum(blob.size for blob in promised))


def restore(backup: Path, data: Path, blobs: str | None, database: Database | None = None) -> Copied:
    """Make a data directory from a backup; every blob is hashed on the way.

    Args:
        backup: The backup.
        data: The data directory to make.
        blobs: Where the bytes go, as in Settings.
        database: An unused database on PostgreSQL, with the tables of this version; None for SQLite in the directory.

    Raises:
        DataDirectoryError: There is no backup, it is damaged, or the data directory or a registry is there already.
        DatabaseUnavailableError: The database does not answer.
        StoreError: The blob store does not answer.
    """
    source = DataDirectory(backup)
    if not source.database.is_file():
        raise DataDirectoryError(f"{backup} is no backup: it has no {source.database.name}")
    if database is not None:
        check_unused(database)
    copies = LocalBlobStore(backup)
    with appearing(data) as place:
        file = DataDirectory(place).database
        copy_file(source.database, file)
        store = open_store(place, blobs)
        promised = promised_blobs(file)
        for blob in promised:
            _restore_blob(blob, copies, store)
        store.clear_scratch()
        if database is not None:  # the last step: a database whose bytes are not there would be worse than none
            load_snapshot(file, database)
            file.unlink()
    return Copied(len(promised), sum(blob.size for blob in promised))


def _copy_blob(blob: KnownBlob, store: BlobShelf, place: Path) -> None:
    target = place / "blobs" / blob_name(blob.sha256)
    make_durable_directory(target.parent, above=place)
    try:
        linked = store.link(blob.sha256, target)
    except FileNotFoundError as error:
        raise DataDirectoryError(f"blob {blob.sha256} is missing: {_SCRUB}") from error
    if not linked:
        copy_verified(store, blob.sha256, target, remedy=_SCRUB)
    sync_directory(target.parent)


def _restore_blob(blob: KnownBlob, copies: LocalBlobStore, store: BlobShelf) -> None:
    with store.scratch() as scratch:
        copy_verified(copies, blob.sha256, scratch / "blob", remedy=_ANOTHER)
        store.promote({blob.sha256: scratch / "blob"})
