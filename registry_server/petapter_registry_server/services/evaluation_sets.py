"""Evaluation sets as callers find them: listed, shown, given; hidden, and their rows taken back."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from semver import Version
from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import audit, evaluation_sets
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_sets import SetOrder, SetPosition, SetQuery
from petapter_registry_server.errors import (
    BlobUnavailableError,
    EvaluationSetNotFoundError,
    InvalidRequestError,
    RowsNotHereError,
)
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.cursors import read_cursor, write_cursor
from petapter_registry_server.services.roles import Role
from petapter_registry_server.services.terms import words_of
from petapter_registry_server.storage.blobs import BlobStore
from petapter_schemas import strict_json
from petapter_schemas.evaluation_api import (
    EvaluationSetDetail,
    EvaluationSetFacts,
    EvaluationSetPage,
    FoundEvaluationSet,
)
from petapter_schemas.evaluation_rows import ROWS_FILE, read_rows
from petapter_schemas.evaluation_set import EvaluationSetSpec

MAX_WORDS = 10
MAX_PAGE = 100

_SHOWN_BYTES = 1 << 16
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_HELP = "whoever has them can tell by their digest that they are the same: 'petapter evalset create'"


@dataclass(frozen=True)
class SetName:
    """A version of an evaluation set, as callers name it."""

    full_name: str
    version: str


@dataclass(frozen=True)
class StoredRows:
    """The rows of a version: the blob that holds their file, and its size."""

    spec: EvaluationSetSpec
    blob: str
    size: int


@dataclass(frozen=True)
class SetQuestion:
    """Which evaluation sets a caller looks for; everything given must hold.

    Attributes:
        text: Words, each of which begins a word of the name or of what the newest version says of itself.
        namespace: Whose.
        rows: How the digest of the rows of some version begins, 8 to 64 digits.
        order: Newest first, or by name.
        limit: Sets of one page.
        cursor: What the page before said.
    """

    text: str = ""
    namespace: str | None = None
    rows: str = ""
    order: SetOrder = "updated"
    limit: int = 20
    cursor: str | None = None


class EvaluationSets:
    """The evaluation sets of one registry."""

    def __init__(self, database: Database, access: Access, store: BlobStore) -> None:
        self._database = database
        self._access = access
        self._store = store

    def search(self, caller: Caller, question: SetQuestion) -> EvaluationSetPage:
        """One page of the sets that the caller may see.

        Raises:
            InvalidRequestError: The question contradicts itself or asks for too much.
        """
        viewer = self._access.viewer(caller)
        with self._database.read() as session:
            rows = evaluation_sets.list_sets(session, _query(question), viewer)
            page = rows[: question.limit]
            counts = evaluation_sets.count_modules(session, [version.rows_sha256 for _, version in page], viewer)
        shown = tuple(
            FoundEvaluationSet(
                id=found.full_name,
                private=found.private,
                updated=hub_date(found.updated_ms),
                modules=counts.get(version.rows_sha256, 0),
                facts=facts_of(found, version),
            )
            for found, version in page
        )
        return EvaluationSetPage(
            sets=shown, next=_cursor(question.order, page[-1][0]) if len(rows) > len(page) else None
        )

    def detail(self, caller: Caller, full_name: str) -> EvaluationSetDetail:
        """A set with all its versions, the highest first.

        Raises:
            EvaluationSetNotFoundError: There is none for this caller.
        """
        with self._database.read() as session:
            found = self._access.evaluation_set(session, caller, full_name, "read")
            versions = evaluation_sets.list_versions(session, found.id)
            ordered = sorted(versions, key=lambda row: Version.parse(row.version), reverse=True)
            return EvaluationSetDetail(
                id=found.full_name, private=found.private, versions=tuple(facts_of(found, row) for row in ordered)
            )

    def document(self, caller: Caller, name: SetName) -> EvaluationSetSpec:
        """The evaluation-set.json of a version. Raises: EvaluationSetNotFoundError."""
        with self._database.read() as session:
            return spec_of(self._version(session, caller, name, "read")[1])

    def rows(self, caller: Caller, name: SetName) -> StoredRows:
        """Where the rows of a version are.

        Raises:
            EvaluationSetNotFoundError: There is no such version for this caller.
            RowsNotHereError: They were not given, or were taken back.
        """
        with self._database.read() as session:
            found, version = self._version(session, caller, name, "read")
        if version.rows_blob is None:
            why = "were not given" if version.withdrawn_ms is None else "were taken back"
            raise RowsNotHereError(f"the rows of {found.full_name} {version.version} {why}; {_HELP}")
        return StoredRows(spec_of(version), version.rows_blob, version.rows_bytes or 0)

    def open(self, rows: StoredRows) -> Iterator[bytes]:
        """The bytes of rows.jsonl. Raises: BlobUnavailableError."""
        try:
            content = self._store.open(rows.blob)
        except FileNotFoundError as error:
            raise BlobUnavailableError(ROWS_FILE) from error
        if content.size != rows.size:
            raise BlobUnavailableError(ROWS_FILE)
        return content.chunks

    def first_rows(self, rows: StoredRows, count: int) -> list[dict[str, str]]:
        """Some rows for a page, in the order of the file. Raises: BlobUnavailableError."""
        try:
            content = self._store.open(rows.blob, 0, min(rows.size, _SHOWN_BYTES))
            begin = b"".join(content.chunks)
        except FileNotFoundError as error:
            raise BlobUnavailableError(ROWS_FILE) from error
        whole = io.BytesIO(begin[: begin.rfind(b"\n") + 1])
        return [row for _, row in zip(range(count), read_rows(whole, rows.spec), strict=False)]

    def set_private(self, caller: Caller, full_name: str, *, private: bool) -> None:
        """Hide a set from all but its namespace, or show it. Raises: as `Access.evaluation_set`."""
        with self._database.write() as session:
            found = self._access.evaluation_set(session, caller, full_name, "admin")
            found.private = private
            detail = "private" if private else "public"
            audit.record(
                session, actor=caller.name, action="evalset.visibility", subject=found.full_name, detail=detail
            )

    def withdraw_rows(self, caller: Caller, name: SetName) -> EvaluationSetFacts:
        """Take back the rows of a version; what names them stays, and they cannot be given again.

        Raises:
            EvaluationSetNotFoundError: There is no such version for this caller.
            PermissionDeniedError: The caller is no admin there.
        """
        with self._database.write() as session:
            found, version = self._version(session, caller, name, "admin")
            if version.withdrawn_ms is None:
                version.withdrawn_ms, version.withdrawn_by = now_ms(), caller.name
                version.rows_blob = version.rows_bytes = None
                audit.record(
                    session,
                    actor=caller.name,
                    action="evalset.withdraw-rows",
                    subject=found.full_name,
                    detail=version.version,
                )
            return facts_of(found, version)

    def _version(
        self, session: Session, caller: Caller, name: SetName, needed: Role
    ) -> tuple[EvaluationSet, EvaluationSetVersion]:
        found = self._access.evaluation_set(session, caller, name.full_name, needed)
        version = None if "\0" in name.version else evaluation_sets.find_version(session, found.id, name.version)
        if version is None:
            raise EvaluationSetNotFoundError(f"{found.full_name} of version {name.version!r}")
        return found, version


def spec_of(version: EvaluationSetVersion) -> EvaluationSetSpec:
    """The document of a version."""
    return EvaluationSetSpec.model_validate_json(strict_json.canonical(version.document), strict=True)


def facts_of(found: EvaluationSet, version: EvaluationSetVersion) -> EvaluationSetFacts:
    """A version as the API and pages show it."""
    return EvaluationSetFacts.of(
        spec_of(version),
        id=found.full_name,
        digest=version.digest,
        published=hub_date(version.published_ms),
        by=version.published_by,
        rows_bytes=version.rows_bytes,
        withdrawn=None if version.withdrawn_ms is None else hub_date(version.withdrawn_ms),
    )


def _query(question: SetQuestion) -> SetQuery:
    words = words_of(question.text)
    if question.text.strip() and not words:
        raise InvalidRequestError("text: there is no letter or digit to look for")
    if len(words) > MAX_WORDS:
        raise InvalidRequestError(f"text: at most {MAX_WORDS} words")
    if question.rows and not _DIGEST.fullmatch(question.rows):
        raise InvalidRequestError("rows: give 8 to 64 digits of the rows' sha256, 0-9 and a-f")
    return SetQuery(
        words=tuple(words),
        namespace=question.namespace,
        rows=question.rows,
        order=question.order,
        limit=question.limit + 1,
        after=_position(question.order, question.cursor) if question.cursor else None,
    )


def _cursor(order: SetOrder, last: EvaluationSet) -> str:
    return write_cursor(order, last.lookup if order == "name" else last.updated_ms, last.id)


def _position(order: SetOrder, cursor: str) -> SetPosition:
    value, row = read_cursor(order, cursor, str if order == "name" else int)
    return SetPosition(value if isinstance(value, str) else int(value), row)
