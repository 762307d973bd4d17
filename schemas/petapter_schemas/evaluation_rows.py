"""`rows.jsonl`, the rows of an evaluation set in their one form: made from any rows, and checked line by line.

The canonical JSON of each row stands on a line of its own, lines in ascending order; so the digest of the rows is
computed while the file streams by, and no more than a line of it is ever held.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from petapter_schemas import strict_json
from petapter_schemas.errors import DataError, DigestMismatchError, ManifestError
from petapter_schemas.evaluation_set import LABEL, EvaluationSetSpec
from petapter_schemas.label_cells import join_labels, split_labels

ROWS_FILE = "rows.jsonl"
MAX_ROW_BYTES = 1 << 20
MAX_ROWS_BYTES = 64 << 20
"""Of the whole file."""

_SHOWN = 40


def rows_bytes(rows: Iterable[Mapping[str, str]]) -> bytes:
    """The file that holds some rows, whatever their order; each has its text fields and its label."""
    return b"".join(line + b"\n" for line in sorted(strict_json.canonical(dict(row)) for row in rows))


@dataclass(frozen=True)
class RowFacts:
    """What a file of rows comes to: their number, how many have each label, and their digest."""

    n: int
    counts: Mapping[str, int]
    rows_sha256: str


def read_rows(stream: BinaryIO, spec: EvaluationSetSpec) -> Iterator[dict[str, str]]:
    """The rows of a file that was checked, one by one. Raises: as `check_rows`, except for sums over all rows."""
    for number, line in enumerate(_lines(stream), start=1):
        yield _row(line, number, spec)


def check_rows(stream: BinaryIO, spec: EvaluationSetSpec) -> None:
    """Refuse a file that does not hold exactly the rows of an evaluation set, in their one form.

    Raises:
        DataError: A row breaks the format, names a label that is not of the set, or stands in the wrong place.
        DigestMismatchError: The rows are not those that the set promises.
    """
    facts = _facts(stream, spec)
    if facts.n != spec.n:
        raise DigestMismatchError(f"{ROWS_FILE} has {facts.n} rows, and the evaluation set promises {spec.n}")
    if facts.rows_sha256 != spec.rows_sha256:
        raise DigestMismatchError(
            f"{ROWS_FILE} holds other rows than the evaluation set promises: their digest is {facts.rows_sha256}, not "
            f"{spec.rows_sha256}"
        )
    for label, promised in zip(spec.labels, spec.counts, strict=True):
        if (found := facts.counts.get(label, 0)) != promised:
            raise DigestMismatchError(
                f"{ROWS_FILE} has {found} rows with the label {_shown(label)}, the evaluation set promises {promised}"
            )


def _facts(stream: BinaryIO, spec: EvaluationSetSpec) -> RowFacts:
    digest, counts = hashlib.sha256(b"["), Counter[str]()
    before, number = b"", 0
    for number, line in enumerate(_lines(stream), start=1):
        row = _row(line, number, spec)
        if strict_json.canonical(row) != line:
            raise DataError(f"{ROWS_FILE}, line {number} is not the row's canonical JSON: 'petapter evalset' writes it")
        if line < before:
            raise DataError(f"{ROWS_FILE}, line {number} stands before its place: lines are in ascending order")
        digest.update(b"," + line if before else line)
        counts.update(labels_of(row, spec))
        before = line
    digest.update(b"]")
    return RowFacts(number, counts, digest.hexdigest())


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    number = 0
    while line := stream.readline(MAX_ROW_BYTES + 2):
        number += 1
        if not line.endswith(b"\n"):
            ends = "is longer than the" if len(line) > MAX_ROW_BYTES else "has no end; a row has at most"
            raise DataError(f"{ROWS_FILE}, line {number} {ends} {MAX_ROW_BYTES} bytes")
        yield line[:-1]


def _row(line: bytes, number: int, spec: EvaluationSetSpec) -> dict[str, str]:
    place = f"{ROWS_FILE}, line {number}"
    try:
        row = strict_json.loads(line, source=place, max_bytes=MAX_ROW_BYTES)
    except ManifestError as error:
        raise DataError(str(error)) from error
    if not isinstance(row, dict) or row.keys() != {*spec.fields, LABEL}:
        raise DataError(f"{place} must be an object of {', '.join((*spec.fields, LABEL))} and nothing else")
    for name, value in row.items():
        if not isinstance(value, str) or "\0" in value or value != value.strip() or not (value or name == LABEL):
            raise DataError(f"{place}: {name} must be a text without blanks at its ends and without zero bytes")
    _check_label(row[LABEL], place, spec)
    return row


def _check_label(cell: str, place: str, spec: EvaluationSetSpec) -> None:
    names: Sequence[str] = (cell,)
    if spec.type == "multi-label":
        try:
            names = split_labels(cell)
        except ValueError as error:
            raise DataError(f"{place}: {error}") from error
        if join_labels(names) != cell or len(set(names)) < len(names):
            raise DataError(f"{place}: the labels must be named once each, in ascending order, joined by '|'")
    if unknown := [name for name in names if name not in spec.labels]:
        raise DataError(f"{place} has the label {_shown(unknown[0])}, which is not in the set's labels")


def labels_of(row: Mapping[str, str], spec: EvaluationSetSpec) -> tuple[str, ...]:
    """The names of a row's labels: one or, in a multi-label set, any number."""
    return (row[LABEL],) if spec.type == "single-label" else split_labels(row[LABEL])


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}…"
