"""Publishing evaluation sets: what arrived is checked against its own promises, then becomes a version that stays."""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from semver import Version
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, evaluation_sets
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.tables import Namespace
from petapter_registry_server.errors import (
    EvaluationSetExistsError,
    InvalidRequestError,
    TooLargeError,
    VersionRefusedError,
)
from petapter_registry_server.services.access import Access, Caller, require_write_role
from petapter_registry_server.services.evaluation_sets import facts_of
from petapter_registry_server.services.founding import find_writable, namespace_for
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.patterns import whole_namespace
from petapter_registry_server.services.quotas import Quotas
from petapter_registry_server.services.terms import words_of
from petapter_registry_server.storage.blobs import BlobStore
from petapter_schemas import strict_json
from petapter_schemas.digests import sha256_file
from petapter_schemas.evaluation_api import EvaluationSetFacts
from petapter_schemas.evaluation_rows import MAX_ROWS_BYTES, ROWS_FILE, check_rows
from petapter_schemas.evaluation_set import EVALUATION_SET_FILE, EvaluationSetSpec, parse_evaluation_set
from petapter_schemas.names import check_namespace, name_key
from petapter_schemas.version_rule import blocking_version

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class _RowsFile:
    """A checked file of rows, with the digest of its bytes."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class _Received:
    """What somebody sent: the document, and its rows where they came with it."""

    spec: EvaluationSetSpec
    rows: _RowsFile | None


class PublishingSets:
    """Takes evaluation sets for one registry."""

    def __init__(self, database: Database, access: Access, store: BlobStore, limits: Limits, quotas: Quotas) -> None:
        self._database = database
        self._access = access
        self._store = store
        self._limits = limits
        self._quotas = quotas

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for the body of one publication."""
        return self._store.scratch()

    def check_body(self, size: int) -> None:
        """Refuse a body above the limit. Raises: TooLargeError."""
        most = min(MAX_ROWS_BYTES, self._limits.file_bytes)
        if size > most + strict_json.MAX_JSON_BYTES + 1:
            raise TooLargeError(f"the rows of an evaluation set may have up to {most} bytes here: leave them out")

    def check_may_publish(self, caller: Caller, namespace: str) -> None:
        """Refuse before the body is read what would be refused after it. Raises: as `publish`."""
        require_write_role(caller)
        check_namespace(namespace)
        with self._database.read() as session:
            find_writable(session, caller, whole_namespace(namespace))

    def publish(self, caller: Caller, namespace: str, body: Path, *, private: bool) -> EvaluationSetFacts:
        """Publish the version that a body holds: the document on its first line, then rows.jsonl, or nothing.

        The same version sent again is the one that is there; where it came without its rows before, they are added. A
        namespace that does not exist yet is made, and the caller is its admin.

        Args:
            caller: Who publishes.
            namespace: Where.
            body: In a directory of `scratch`, in which more files are put.
            private: Whether a set that is new is for its namespace alone.

        Raises:
            PetapterError: The document or the rows break the format, or are not what they promise.
            InvalidRequestError: The name looks like that of another set.
            EvaluationSetExistsError: The version is there, with other content.
            VersionRefusedError: The version is not higher than what is published, or its rows were taken back.
            PermissionDeniedError: The caller may not write there.
            QuotaExceededError: The namespace would hold more than it may.
        """
        received = _read(body)
        self._store_rows(caller, namespace, received.rows)
        with self._database.write() as session:
            owner = namespace_for(session, caller, whole_namespace(namespace))
            of = evaluation_sets.find_set(session, f"{owner.name}/{received.spec.name}")
            if of is None:
                self._quotas.check_repositories(session, owner)
                of = _new_set(session, owner, received.spec, private=private)
            if of.full_name != f"{owner.name}/{received.spec.name}":
                raise InvalidRequestError(f"the evaluation set is called {of.full_name}: write its name so")
            return facts_of(of, self._version(session, caller, of, received))

    def _store_rows(self, caller: Caller, namespace: str, rows: _RowsFile | None) -> None:
        with self._database.read() as session:
            found = find_writable(session, caller, whole_namespace(namespace))
            namespace_id = found.id if found else None
        if rows is not None:
            self._limits.check_file(ROWS_FILE, rows.size)
            self._quotas.check_bytes(namespace_id, namespace, {rows.sha256: rows.size})
            self._store.promote({rows.sha256: rows.path})

    def _version(
        self, session: Session, caller: Caller, of: EvaluationSet, received: _Received
    ) -> EvaluationSetVersion:
        """The version as it is published already, or is now."""
        there = evaluation_sets.find_version(session, of.id, received.spec.version)
        if there is None:
            return self._publish(session, caller, of, received)
        if there.digest != received.spec.digest:
            raise EvaluationSetExistsError(
                f"{of.full_name} {there.version} is published with other content, and never "
                "changes: choose another version"
            )
        if received.rows is not None and there.withdrawn_ms is not None:
            raise VersionRefusedError(
                f"the rows of {of.full_name} {there.version} were taken back: leave them out, or "
                "publish another version"
            )
        if received.rows is not None and there.rows_blob is None:
            self._hold(session, there, received.rows)
            _record(session, caller, of, "evalset.add-rows", there.version)
        return there

    def _publish(
        self, session: Session, caller: Caller, of: EvaluationSet, received: _Received
    ) -> EvaluationSetVersion:
        spec, at = received.spec, now_ms()
        _check_number(spec.version, evaluation_sets.list_versions(session, of.id))
        if not of.newest or Version.parse(of.newest) < Version.parse(spec.version):
            of.newest, of.search_text = spec.version, _search_text(of.full_name, spec)
        of.updated_ms = at
        version = _new_version(of, spec, caller.name, at)
        if received.rows is not None:
            self._hold(session, version, received.rows)
        session.add(version)
        session.flush()
        _record(
            session, caller, of, "evalset.publish",
            f"{spec.version} {spec.rows_sha256}{'' if received.rows else ' without rows'}",
        )  # fmt: skip
        return version

    def _hold(self, session: Session, version: EvaluationSetVersion, rows: _RowsFile) -> None:
        hold_bytes(session, self._store, {rows.sha256: rows.path})
        version.rows_blob, version.rows_bytes = rows.sha256, rows.size


def _read(body: Path) -> _Received:
    """Check what was sent, and put the rows into a file of their own beside it."""
    with body.open("rb") as stream:
        line = stream.readline(strict_json.MAX_JSON_BYTES + 2)
        if not line.endswith(b"\n"):
            raise InvalidRequestError(
                f"the first line must be {EVALUATION_SET_FILE}, of up to {strict_json.MAX_JSON_BYTES} bytes"
            )
        spec = parse_evaluation_set(line)
        begin = stream.tell()
        if not stream.read(1):
            return _Received(spec, None)
        stream.seek(begin)
        check_rows(stream, spec)
        stream.seek(begin)
        path = body.with_name(ROWS_FILE)
        _copy(stream, path)
    return _Received(spec, _RowsFile(path, sha256_file(path), path.stat().st_size))


def _copy(stream: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(stream, target, _CHUNK_BYTES)


def _new_set(session: Session, owner: Namespace, spec: EvaluationSetSpec, *, private: bool) -> EvaluationSet:
    full_name, at = f"{owner.name}/{spec.name}", now_ms()
    if (taken := evaluation_sets.find_set_like(session, name_key(full_name))) is not None:
        raise InvalidRequestError(f"{full_name!r} looks like {taken.full_name!r}, which exists: choose another name")
    new = EvaluationSet(
        namespace_id=owner.id,
        full_name=full_name,
        lookup=full_name.lower(),
        key=name_key(full_name),
        private=private,
        newest="",
        search_text="",
        created_ms=at,
        updated_ms=at,
    )
    session.add(new)
    session.flush()
    return new


def _new_version(of: EvaluationSet, spec: EvaluationSetSpec, publisher: str, at_ms: int) -> EvaluationSetVersion:
    return EvaluationSetVersion(
        evaluation_set_id=of.id,
        version=spec.version,
        digest=spec.digest,
        rows_sha256=spec.rows_sha256,
        document=spec.model_dump(mode="json"),
        rows_blob=None,
        rows_bytes=None,
        published_ms=at_ms,
        published_by=publisher,
        withdrawn_ms=None,
        withdrawn_by=None,
    )


def _record(session: Session, caller: Caller, of: EvaluationSet, action: str, detail: str) -> None:
    audit.record(session, actor=caller.name, action=action, subject=of.full_name, detail=detail)


def _check_number(number: str, published: Sequence[EvaluationSetVersion]) -> None:
    blocking = blocking_version(Version.parse(number), (Version.parse(row.version) for row in published))
    if blocking is not None:
        raise VersionRefusedError(
            f"version {number} is not higher than {blocking}, which is published: choose a higher one, or a patch that "
            "is higher than all of its own MAJOR.MINOR"
        )


def _search_text(full_name: str, spec: EvaluationSetSpec) -> str:
    said = (full_name, spec.description, spec.source, spec.split, spec.license or "", *spec.languages, *spec.labels)
    return "".join(f" {word}" for word in words_of("\n".join(said)))
