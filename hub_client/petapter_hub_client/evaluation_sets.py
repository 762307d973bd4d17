"""Evaluation sets: made of labelled rows, compared with rows at hand, published to a registry and fetched from one."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from pydantic import ValidationError

from petapter_hub_client.hub import Hub, open_hub, require_token
from petapter_hub_client.native import Parameters, ask, fetch_bytes, send_bytes
from petapter_schemas import strict_json
from petapter_schemas.durable import appear, new_directory, write_file_durably
from petapter_schemas.errors import (
    DataError,
    DigestMismatchError,
    InputError,
    InvalidReferenceError,
    ManifestError,
    RemoteNotFoundError,
)
from petapter_schemas.evaluation_api import (
    BoardSort,
    EvaluationSetDetail,
    EvaluationSetFacts,
    EvaluationSetPage,
    FoundEvaluationSet,
    Leaderboard,
    Standing,
)
from petapter_schemas.evaluation_rows import MAX_ROWS_BYTES, ROWS_FILE, check_rows, rows_bytes
from petapter_schemas.evaluation_set import (
    EVALUATION_SET_FILE,
    LABEL,
    EvaluationSetSpec,
    evaluation_set_bytes,
    parse_evaluation_set,
)
from petapter_schemas.fingerprints import rows_sha256
from petapter_schemas.label_cells import join_labels, split_labels
from petapter_schemas.messages import first_problem
from petapter_schemas.references import Reference
from petapter_schemas.tables import Row, read_rows, some

_LOG = logging.getLogger(__name__)
_LABELS, _WEIGHT = "labels", "weight"
_PAGE = 100

SetType = Literal["single-label", "multi-label"]
LabelledRow = dict[str, str]


@dataclass(frozen=True)
class SetOptions:
    """What an evaluation set says of its rows.

    Attributes:
        name: Its name on a registry.
        version: Its version.
        description: What the rows are.
        license: Of the rows, by its SPDX identifier.
        languages: Of the rows.
        source: Where the rows come from, for whoever lacks them.
        split: Which part of the source they are.
        type: Whether each row has one label or any number.
        fields: The columns with texts.
        labels: The label set; empty is those that the rows have.
    """

    name: str
    version: str = "1.0.0"
    description: str = ""
    license: str | None = None
    languages: tuple[str, ...] = ()
    source: str = ""
    split: str = "test"
    type: SetType = "single-label"
    fields: tuple[str, ...] = ("text",)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocalSet:
    """An evaluation set in a directory; `rows` is its file of rows, None where these are kept back."""

    directory: Path
    spec: EvaluationSetSpec
    rows: Path | None


def create_evaluation_set(rows: Path, out: Path, options: SetOptions) -> LocalSet:
    """Make a directory of an evaluation set from labelled rows: CSV with a header, or JSON Lines.

    Raises:
        DataError: The rows cannot be read, lack a column or a text, have weights, or a label that is not in the set.
        InputError: The options break the format, or the directory exists.
    """
    found = _labelled(rows, options.fields, options.type)
    names = [name for row in found for name in _names(row, options.type)]
    labels = tuple(sorted(options.labels or set(names)))
    if unknown := sorted(set(names) - set(labels)):
        raise DataError(
            f"{rows}: label {unknown[0]!r} is not in the set (labels: {some(labels)}): correct it or add it"
        )
    counts = Counter(names)
    spec = _spec(
        options,
        labels=labels,
        counts=tuple(counts[name] for name in labels),
        n=len(found),
        rows_sha256=rows_sha256(found),
    )
    data = rows_bytes(found)
    if len(data) > MAX_ROWS_BYTES:
        raise DataError(f"{rows} would be {len(data)} bytes of rows, more than the {MAX_ROWS_BYTES} allowed: use fewer")
    _write(out, spec, data)
    return read_evaluation_set(out)


def _spec(options: SetOptions, **found: object) -> EvaluationSetSpec:
    said = {
        "name": options.name,
        "version": options.version,
        "description": options.description,
        "license": options.license,
        "languages": options.languages,
        "source": options.source,
        "split": options.split,
        "type": options.type,
        "fields": tuple(sorted(options.fields)),
    }
    try:
        return EvaluationSetSpec.model_validate({**said, **found}, strict=True)
    except ValidationError as error:
        raise InputError(f"this cannot be an evaluation set: {first_problem(error)}") from error


def read_evaluation_set(directory: Path) -> LocalSet:
    """Read a directory of an evaluation set, and check every row that is there.

    Raises:
        ManifestError: There is none, or its document breaks the format.
        DataError: A row breaks the format.
        DigestMismatchError: The rows are not those that it promises.
    """
    try:
        with (directory / EVALUATION_SET_FILE).open("rb") as stream:
            spec = parse_evaluation_set(stream.read(strict_json.MAX_JSON_BYTES + 1))
    except OSError as error:
        raise ManifestError(f"{directory} is no evaluation set: it has no readable {EVALUATION_SET_FILE}") from error
    rows = directory / ROWS_FILE
    if not rows.exists():
        return LocalSet(directory, spec, None)
    with rows.open("rb") as stream:
        check_rows(stream, spec)
    return LocalSet(directory, spec, rows)


def push_evaluation_set(
    directory: Path, reference: str, *, private: bool = False, without_rows: bool = False
) -> EvaluationSetFacts:
    """Publish an evaluation set; the registry reads every row again. Pushing what is there changes nothing.

    Args:
        directory: Made by `create_evaluation_set` or `pull_evaluation_set`.
        reference: `[remote:]namespace/name`.
        private: Whether a set that is new is for its namespace alone.
        without_rows: Keep the rows here; the digest says which they are.

    Raises:
        InvalidReferenceError: The reference has another name than the set, or a version.
        VersionConflictError: The version is there, with other content.
        PetapterError: As `read_evaluation_set`, or the remote said no, or nothing.
    """
    local = read_evaluation_set(directory)
    target = Reference.parse(reference)
    if target.revision is not None:
        raise InvalidReferenceError(f"{reference!r}: the version is that of {EVALUATION_SET_FILE}, leave out the @")
    namespace, _, name = target.repo_id.partition("/")
    if name != local.spec.name:
        raise InvalidReferenceError(f"{reference!r}: the evaluation set is called {local.spec.name!r}, not {name!r}")
    hub = open_hub(target.remote)
    require_token(hub)
    rows = local.rows.read_bytes() if local.rows and not without_rows else b""
    body = strict_json.canonical(local.spec.model_dump(mode="json")) + b"\n" + rows
    parameters = (("private", private),)
    return send_bytes(hub, f"/evalsets/{quote(namespace)}", body, EvaluationSetFacts, parameters=parameters)


def list_evaluation_sets(
    text: str = "", *, remote: str | None = None, namespace: str | None = None, rows: str = "", limit: int = 20
) -> list[FoundEvaluationSet]:
    """Evaluation sets on a registry, each at its newest version, the latest first.

    Args:
        text: Words that begin words of the name or of what a set says of itself.
        remote: Where; None is the default remote.
        namespace: Whose; None is anybody's.
        rows: How the sha256 of the rows begins, at least 8 digits.
        limit: How many at most.

    Raises:
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    hub = open_hub(remote)
    asked = (("text", text), ("namespace", namespace), ("rows", rows))
    kept = [(name, value) for name, value in asked if value]
    found: list[FoundEvaluationSet] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < limit:
        more: Parameters = [*kept, ("limit", min(_PAGE, limit - len(found))), *([("cursor", cursor)] if cursor else [])]
        page = ask(hub, "/evalsets", EvaluationSetPage, parameters=more)
        found += page.sets
        cursor = page.next
    return found


def show_evaluation_set(reference: str) -> EvaluationSetFacts:
    """What a version of an evaluation set is; the newest without a version. Raises: RemoteError."""
    return _facts(*_at(reference))


def leaderboard(
    reference: str,
    *,
    metric: str | None = None,
    status: Collection[str] = (),
    sort: BoardSort = "standing",
    limit: int = 20,
) -> Leaderboard:
    """How modules were measured on the rows of an evaluation set, what was measured before what is declared.

    Args:
        reference: `[remote:]namespace/name[@version]`.
        metric: Which; None leaves it to the registry.
        status: `verified`, `reproduced`, `declared`, `disputed`; none is all.
        sort: `standing`, `value`, `name` or `updated`.
        limit: How many lines at most.

    Raises:
        InputError: There is no such status.
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    for name in status:
        if name not in get_args(Standing):
            raise InputError(f"{name!r} is no status: use {', '.join(get_args(Standing))}")
    hub, repo_id, version = _at(reference)
    asked = [("version", version), ("metric", metric), ("sort", sort), ("limit", limit)]
    parameters = [pair for pair in asked if pair[1] is not None] + [("status", name) for name in status]
    return ask(hub, f"{_path(repo_id)}/leaderboard", Leaderboard, parameters=parameters)


def pull_evaluation_set(reference: str, out: Path) -> LocalSet:
    """Fetch an evaluation set into a new directory; every byte is compared with its digests. Rows may be missing.

    Raises:
        InputError: The directory exists.
        DigestMismatchError: What came is not what the registry says it is.
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    facts, spec, hub = _document(reference)
    rows = None
    if facts.rows_bytes is not None:
        path = f"{_path(facts.id)}/versions/{quote(facts.version, safe='')}/rows"
        rows = fetch_bytes(hub, path, most=MAX_ROWS_BYTES)
    else:
        _LOG.warning(
            "the rows of %s %s are not on the registry%s; 'petapter evalset check' tells whether yours are the same",
            facts.id, facts.version, f": look for them at {spec.source}" if spec.source else "",
        )  # fmt: skip
    _write(out, spec, rows)
    return LocalSet(out, spec, None if rows is None else out / ROWS_FILE)


def check_evaluation_rows(reference: str, rows: Path) -> EvaluationSetFacts:
    """Whether a file holds exactly the rows of an evaluation set, in any order; rows are not sent anywhere.

    Args:
        reference: `[remote:]namespace/name[@version]`.
        rows: CSV with a header, or JSON Lines.

    Raises:
        DigestMismatchError: It holds others.
        DataError: It cannot be read.
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    facts, spec, _ = _document(reference)
    found = _labelled(rows, spec.fields, spec.type)
    if (digest := rows_sha256(found)) != spec.rows_sha256:
        raise DigestMismatchError(
            f"{rows} holds other rows than {facts.id} {facts.version}: {len(found)} with the sha256 {digest}, and the "
            f"set has {spec.n} with {spec.rows_sha256}"
        )
    return facts


def _document(reference: str) -> tuple[EvaluationSetFacts, EvaluationSetSpec, Hub]:
    hub, repo_id, version = _at(reference)
    facts = _facts(hub, repo_id, version)
    spec = ask(hub, f"{_path(repo_id)}/versions/{quote(facts.version, safe='')}", EvaluationSetSpec)
    if spec.digest != facts.digest or spec.rows_sha256 != facts.rows_sha256:
        raise DigestMismatchError(
            f"{EVALUATION_SET_FILE} of {facts.id} {facts.version} is not what remote {hub.remote.name!r} says it is"
        )
    return facts, spec, hub


def _facts(hub: Hub, repo_id: str, version: str | None) -> EvaluationSetFacts:
    detail = ask(hub, _path(repo_id), EvaluationSetDetail)
    for facts in detail.versions:
        if version in {None, facts.version}:
            return facts
    known = some([facts.version for facts in detail.versions])
    raise RemoteNotFoundError(f"remote {hub.remote.name!r}: {detail.id} has no version {version}: it has {known}")


def _at(reference: str) -> tuple[Hub, str, str | None]:
    parsed = Reference.parse(reference)
    version = parsed.revision
    if version is not None and version.startswith("v"):
        version = version.removeprefix("v")
    return open_hub(parsed.remote), parsed.repo_id, version


def _path(repo_id: str) -> str:
    return f"/evalsets/{repo_id}"


def _write(out: Path, spec: EvaluationSetSpec, rows: bytes | None) -> None:
    """The document last, as of modules; rows that are not the promised ones never get there."""
    with new_directory(out) as scratch:
        if rows is not None:
            write_file_durably(scratch / ROWS_FILE, rows)
            with (scratch / ROWS_FILE).open("rb") as stream:
                check_rows(stream, spec)
        write_file_durably(scratch / EVALUATION_SET_FILE, evaluation_set_bytes(spec))
        appear(scratch, out)


def _labelled(path: Path, fields: Iterable[str], kind: SetType) -> list[LabelledRow]:
    """Rows as their digest is taken: their text fields, and the one cell of their labels."""
    columns = (*fields, LABEL) if kind == "single-label" else tuple(fields)
    rows = read_rows(path, columns, tuple(name for name in (LABEL, _LABELS, _WEIGHT) if name not in columns))
    return [{**{name: row.text(name) for name in fields}, LABEL: _cell(row, kind)} for row in _unweighted(rows)]


def _unweighted(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        if row.cells.get(_WEIGHT) not in {None, ""} and row.positive_number(_WEIGHT) != 1:
            raise DataError(f"{row.place}: a row of an evaluation set counts once: drop the column {_WEIGHT!r}")
        yield row


def _cell(row: Row, kind: SetType) -> str:
    if kind == "single-label":
        return row.text(LABEL)
    columns = [name for name in (LABEL, _LABELS) if name in row.cells]
    if len(columns) != 1:
        raise DataError(f"{row.place}: there must be one column 'label' or 'labels', empty for none of the labels")
    cell = row.cells[columns[0]]
    try:
        names = split_labels(cell) if isinstance(cell, str) else tuple(cell) if isinstance(cell, list) else None
    except ValueError as error:
        raise DataError(f"{row.place}: column {columns[0]!r}: {error}") from error
    if names is None or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise DataError(f"{row.place}: column {columns[0]!r} must name labels, each once: leave it empty for none")
    return join_labels(names)


def _names(row: LabelledRow, kind: SetType) -> tuple[str, ...]:
    return (row[LABEL],) if kind == "single-label" else split_labels(row[LABEL])
