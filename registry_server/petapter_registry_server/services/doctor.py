"""The doctor: whether a data directory, its settings and its blob store are fit for a registry, one line each."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.opening import open_existing
from petapter_registry_server.db.schema import revisions
from petapter_registry_server.db.schema_version import has_log_reset_bug, version_of
from petapter_registry_server.errors import DataDirectoryError, StoreError
from petapter_registry_server.file_systems import is_network, kind_of
from petapter_registry_server.services.belonging import look_at_belonging
from petapter_registry_server.services.doctor_of_postgres import examine_postgres
from petapter_registry_server.services.doctor_of_sign_in import examine_sign_in
from petapter_registry_server.services.finding import Finding
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.opening import check_staging, open_checked_store, open_store
from petapter_schemas.errors import InputError

_OTHERS = 0o077
_SCARCE_BYTES = 1 << 30


def examine_installation(settings: Settings) -> Iterator[Finding]:
    """Check everything; nothing is changed but probe keys, which are removed, in an object store."""
    yield _reach(settings)
    if settings.data.is_dir():
        yield _permissions(settings.data)
        yield _file_system(settings)
        yield _space(settings)
    else:
        yield _no_directory(settings)
    if settings.database is not None or settings.data.is_dir():
        yield from _examine_rows_and_bytes(settings)
    yield from examine_sign_in(settings)


def _examine_rows_and_bytes(settings: Settings) -> Iterator[Finding]:
    database = None
    try:
        database = open_existing(settings)
    except (InputError, DataDirectoryError) as error:
        yield Finding("failure", "database", str(error))
    else:
        yield from _examine_database(database, settings)
    yield _store(settings)
    yield from _direct_uploads(settings)
    if database is not None:
        yield from _belonging(database, settings)
        database.close()


def _examine_database(database: Database, settings: Settings) -> Iterator[Finding]:
    if database.file is None:
        yield from examine_postgres(database, settings)
    else:
        yield _sqlite()
        yield _schema(database.file)


def _belonging(database: Database, settings: Settings) -> Iterator[Finding]:
    """Nothing where another finding says already why it cannot be known."""
    try:
        database.check()
        store = open_store(settings.data, settings.blobs)
    except (DataDirectoryError, StoreError):
        return
    try:
        look_at_belonging(database, store)
    except (DataDirectoryError, StoreError) as error:
        yield Finding("failure", "belonging", str(error))
    else:
        yield Finding("ok", "belonging", "database and blobs are of one registry")


def _no_directory(settings: Settings) -> Finding:
    if settings.database is not None:
        return Finding("warning", "data", f"{settings.data} is missing: the next start makes it, without blobs")
    return Finding(
        "failure",
        "data",
        f"{settings.data} is missing: start 'petapter-registry serve --data {settings.data}' once",
    )


def _reach(settings: Settings) -> Finding:
    who = "anybody may read public repositories" if settings.anonymous_may_read else "only tokens read"
    text = f"listens on {settings.host}, {who}"
    if settings.is_loopback:
        return Finding("ok", "reach", text)
    return Finding("warning", "reach", f"{text}: tokens travel in the clear unless something with TLS is in front")


def _permissions(data: Path) -> Finding:
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Finding("failure", "permissions", f"this user may not write in {data}: run as its owner")
    mode = data.stat().st_mode & 0o777
    if mode & _OTHERS:
        return Finding("warning", "permissions", f"{data} has mode {mode:o}, so others may read it: chmod 700 {data}")
    return Finding("ok", "permissions", f"{data} is its owner's alone")


def _file_system(settings: Settings) -> Finding:
    data, kind = settings.data, kind_of(settings.data)
    if is_network(kind) and settings.database is None:
        return Finding("failure", "file system", f"{data} is on {kind}, where SQLite loses data: use a local disk")
    return Finding("ok", "file system", kind or "unknown on this system")


def _space(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.data).free
    needed = 2 * settings.max_commit_bytes  # the body of a commit, and its files
    text = f"{free >> 20} MiB free"
    if free < needed:
        return Finding("failure", "space", f"{text}, but one commit may need {needed >> 20} MiB: make room")
    return Finding("warning" if free < _SCARCE_BYTES else "ok", "space", text)


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if not has_log_reset_bug():
        return Finding("ok", "sqlite", version)
    return Finding(
        "warning",
        "sqlite",
        f"{version} may damage its log when two processes write at once (fixed in 3.51.3): one server holds the "
        "directory and writes in turn; run other commands that write while nobody pushes, or upgrade SQLite",
    )


def _schema(database: Path) -> Finding:
    try:
        found = version_of(database)
    except DataDirectoryError as error:
        return Finding("failure", "database", str(error))
    known = revisions()
    if found not in known:
        return Finding("failure", "database", f"version {found} is newer than this program: upgrade petapter-registry")
    if found != known[-1]:
        return Finding("warning", "database", f"version {found}; the next start brings it to {known[-1]}")
    return Finding("ok", "database", f"version {found}, no damaged pages found")


def _store(settings: Settings) -> Finding:
    try:
        open_checked_store(settings.data, settings.blobs)
    except StoreError as error:
        return Finding("failure", "blobs", str(error))
    if settings.redirect_above_bytes is not None and settings.blobs is None:
        return Finding("warning", "blobs", "redirect_above_bytes does nothing: blobs in a directory have no addresses")
    return Finding("ok", "blobs", settings.blobs or "in the data directory")


def _direct_uploads(settings: Settings) -> Iterator[Finding]:
    """Whether the store can be trusted with signed PUTs, also where they are not asked for."""
    if settings.blobs is None and not settings.direct_uploads:
        return
    try:
        check_staging(settings)
    except StoreError as error:
        if settings.direct_uploads:
            yield Finding("failure", "direct uploads", str(error))
        else:
            yield Finding("ok", "direct uploads", f"off; {error}")
    else:
        switch = "on" if settings.direct_uploads else "off"
        yield Finding("ok", "direct uploads", f"{switch}; the object store signs PUTs that allow nothing else")
