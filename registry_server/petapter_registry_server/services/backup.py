"""Backup and restore: the database first, then every blob that it promises; both appear whole or not at all.

The order is what makes a backup of a running registry consistent: bytes are there before a row promises them, so all
that the copied database promises can still be copied after it. A backup is laid out as a data directory.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.blobs import KnownBlob
from petapter_registry_server.db.sqlite_copy import copy_database, promised_blobs
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.durable import link_or_copy, make_durable_directory, sync_directory, sync_file
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_registry_server.storage.opening import open_store


@dataclass(frozen=True)
class Copied:
    """How much was copied."""

    blobs: int
    bytes: int


def back_up(data: DataDirectory, store: BlobStore, target: Path) -> Copied:
    """Copy a registry, which may be serving, to a new directory. Local blobs get a second name where that is possible.

    Raises:
        DataDirectoryError: The target is there already, or a promised blob is missing.
        StoreError: The blob store does not answer.
    """
    with _appearing(target) as place:
        copy_database(data.database, DataDirectory(place).database)
        promised = promised_blobs(DataDirectory(place).database)
        for blob in promised:
            _copy_blob(blob, store, place)
        sync_file(DataDirectory(place).database)
    return Copied(len(promised), sum(blob.size for blob in promised))


def restore(backup: Path, data: Path, blobs: str | None) -> Copied:
    """Make a data directory from a backup; every blob is hashed on the way. `blobs` is as in Settings.

    Raises:
        DataDirectoryError: There is no backup, it is damaged, or the data directory is there already.
        StoreError: The blob store does not answer.
    """
    source = DataDirectory(backup)
    if not source.database.is_file():
        raise DataDirectoryError(f"{backup} is no backup: it has no {source.database.name}")
    copies = LocalBlobStore(backup)
    with _appearing(data) as place:
        copy_database(source.database, DataDirectory(place).database)
        store = open_store(place, blobs)
        promised = promised_blobs(DataDirectory(place).database)
        for blob in promised:
            _restore_blob(blob, copies, store)
        store.clear_scratch()
    return Copied(len(promised), sum(blob.size for blob in promised))


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory to fill that takes its name at the end, and is removed when something fails."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataDirectoryError(f"{target} is there already: choose a directory that does not exist")
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    place.mkdir(mode=0o700)
    try:
        yield place
        sync_directory(place)
        place.rename(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copy_blob(blob: KnownBlob, store: BlobStore, place: Path) -> None:
    target = place / "blobs" / blob_name(blob.sha256)
    make_durable_directory(target.parent, above=place)
    with store.scratch() as scratch:
        try:
            link_or_copy(store.local_file(blob.sha256, scratch), target)
        except FileNotFoundError as error:
            raise DataDirectoryError(
                f"blob {blob.sha256} is missing: run 'petapter-registry scrub', which says which files need it"
            ) from error
    sync_directory(target.parent)


def _restore_blob(blob: KnownBlob, copies: BlobStore, store: BlobStore) -> None:
    digest = hashlib.sha256()
    with store.scratch() as scratch:
        file = scratch / "blob"
        try:
            with file.open("wb") as stream:
                for chunk in copies.open(blob.sha256).chunks:
                    digest.update(chunk)
                    stream.write(chunk)
        except FileNotFoundError as error:
            raise DataDirectoryError(f"the backup lacks blob {blob.sha256}: use another backup") from error
        if digest.hexdigest() != blob.sha256:
            raise DataDirectoryError(f"blob {blob.sha256} of the backup is damaged: use another backup")
        store.promote(file, blob.sha256)
