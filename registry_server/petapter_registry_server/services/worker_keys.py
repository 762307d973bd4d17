"""The keys of workers: who may measure for this registry, as its API tells everybody."""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import audit, evaluations
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_tables import WorkerKey
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.indexing import refresh_index
from petapter_schemas.ed25519 import MAX_KEY_BYTES, fingerprint_of, new_key_pem, public_pem, read_private_key
from petapter_schemas.errors import InputError
from petapter_schemas.measuring_api import WorkerKeyState
from petapter_schemas.names import check_name

_OTHERS = 0o077


class WorkerKeys:
    """The keys of one registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, file: Path) -> str:
        """Make a key, write its private half to a new file of mode 600, and let it count; its fingerprint.

        Raises:
            InvalidRequestError: The name is taken.
            InputError: The name is none, or the file is there already or cannot be written.
        """
        check_name(name, what="key name")
        secret = new_key_pem()
        key = read_private_key(secret, source=str(file)).public_key()
        sha256 = fingerprint_of(key)
        with self._database.write() as session:
            if evaluations.find_key_named(session, name) is not None:
                raise InvalidRequestError(f"there is a worker key {name!r} already: choose another name")
            _write_private(file, secret)
            row = WorkerKey(
                sha256=sha256,
                name=name,
                public_key=public_pem(key).decode("ascii"),
                created_ms=now_ms(),
                revoked_ms=None,
            )
            evaluations.add_key(session, row)
            _record(session, "worker_key.create", row)
        return sha256

    def revoke(self, name: str) -> None:
        """Let a key count no more: nothing that it signs is taken. What it signed before stays, and names it.

        Raises:
            InvalidRequestError: There is no such key.
        """
        with self._database.write() as session:
            row = evaluations.find_key_named(session, name)
            if row is None:
                raise InvalidRequestError(f"there is no worker key {name!r}: 'worker-key list' shows all")
            if row.revoked_ms is None:
                row.revoked_ms = now_ms()
                for repository in evaluations.measured_with(session, row.sha256):
                    refresh_index(session, repository)
                _record(session, "worker_key.revoke", row)

    def list(self) -> Sequence[WorkerKeyState]:
        """All keys, also revoked ones."""
        with self._database.read() as session:
            return [_state(row) for row in evaluations.list_keys(session)]

    def name_of(self, key: Ed25519PrivateKey) -> str:
        """What a worker's key is called here.

        Raises:
            InputError: It is unknown here, or revoked.
        """
        sha256 = fingerprint_of(key.public_key())
        with self._database.read() as session:
            return require_key(session, sha256).name


def require_key(session: Session, sha256: str) -> WorkerKey:
    """A worker's key that counts.

    Raises:
        InputError: It is unknown here, or revoked.
    """
    row = evaluations.find_key(session, sha256)
    if row is None or row.revoked_ms is not None:
        what = "is none of this registry" if row is None else f"({row.name}) was revoked"
        raise InputError(f"the worker's key {sha256[:16]} {what}: make one with 'petapter-registry worker-key create'")
    return row


def read_worker_key(file: Path) -> Ed25519PrivateKey:
    """The private key in a file that nobody else may read.

    Raises:
        InputError: There is none.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_KEY_BYTES)
        mode = file.stat().st_mode
    except OSError as error:
        raise InputError(f"the worker's key {file} cannot be read: {error.strerror}") from error
    if mode & _OTHERS:
        raise InputError(f"the worker's key {file} has mode {mode & 0o777:o}, so others may read it: chmod 600 {file}")
    return read_private_key(data, source=str(file))


def _write_private(file: Path, secret: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InputError(f"{file} is there already: choose another file for the key") from error
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret)
        stream.flush()
        os.fsync(stream.fileno())


def _record(session: Session, action: str, key: WorkerKey) -> None:
    audit.record(session, actor=CONSOLE.name, action=action, subject=key.name, detail=key.sha256)


def _state(row: WorkerKey) -> WorkerKeyState:
    return WorkerKeyState(
        name=row.name,
        fingerprint=row.sha256,
        public_key=row.public_key,
        created=hub_date(row.created_ms),
        revoked=None if row.revoked_ms is None else hub_date(row.revoked_ms),
    )
