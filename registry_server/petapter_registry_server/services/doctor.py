"""The doctor: whether a data directory, its settings and its blob store are fit for a registry, one line each."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.db.schema import revisions
from petapter_registry_server.db.schema_version import has_log_reset_bug, version_of
from petapter_registry_server.errors import DataDirectoryError, StoreError
from petapter_registry_server.file_systems import is_network, kind_of
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.opening import open_checked_store

_OTHERS = 0o077
_SCARCE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: Literal["ok", "warning", "failure"]
    subject: str
    text: str


def examine_installation(settings: Settings) -> Iterator[Finding]:
    """Check everything; nothing is changed but one probe key, which is removed, in an object store."""
    directory = DataDirectory(settings.data)
    yield _reach(settings)
    if not settings.data.is_dir():
        yield Finding(
            "failure",
            "data",
            f"{settings.data} is missing: start 'petapter-registry serve --data {settings.data}' once",
        )
        return
    yield _permissions(settings.data)
    yield _file_system(settings.data)
    yield _space(settings)
    yield _sqlite()
    yield _schema(directory.database)
    yield _store(settings)


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


def _file_system(data: Path) -> Finding:
    kind = kind_of(data)
    if is_network(kind):
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
    if not database.is_file():
        return Finding("failure", "database", f"{database} is missing: restore it from a backup")
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
    return Finding("ok", "blobs", settings.blobs or "in the data directory")
