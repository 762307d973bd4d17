"""Labelled and unlabelled rows from CSV files, kept as the text they are: "NA" and "null" stay words."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_schemas.errors import DataError
from petapter_schemas.fingerprints import rows_sha256
from petapter_schemas.task import TaskSpec

LABEL_COLUMN = "label"
MAX_CELL_CHARACTERS = 1_000_000

_SHOWN = 5


@dataclass(frozen=True)
class Example:
    """A text, by field, and the name of its label."""

    fields: dict[str, str]
    label: str


def read_examples(path: Path, task: TaskSpec) -> list[Example]:
    """Read labelled rows: a CSV file with a header, the task's text fields and a column `label`.

    Raises:
        DataError: The file, a column or a cell is missing or empty, or a label is not one of the task's.
    """
    known = set(task.label_names)
    examples: list[Example] = []
    for line, row in _rows(path, (*task.fields, LABEL_COLUMN)):
        label = row[LABEL_COLUMN]
        if label not in known:
            raise DataError(
                f"{path}, line {line}: label {label!r} is not in the task (labels: {_some(task.label_names)}): "
                "correct the row or add the label"
            )
        examples.append(Example({name: row[name] for name in task.fields}, label))
    return examples


def read_texts(path: Path, fields: Sequence[str]) -> list[dict[str, str]]:
    """Read unlabelled rows: a CSV file with a header and the given columns; further columns are ignored.

    Raises:
        DataError: The file, a column or a cell is missing or empty.
    """
    return [row for _, row in _rows(path, fields)]


def rows_digest(examples: Sequence[Example]) -> str:
    """The digest that names a set of labelled rows, whatever their order (schemas/README.md, "rows_sha256")."""
    return rows_sha256({**example.fields, LABEL_COLUMN: example.label} for example in examples)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    found = False
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_header(path, reader.fieldnames, columns)
            for row in reader:
                found = True
                yield reader.line_num, _cells(path, reader.line_num, row, columns)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} is no readable CSV: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise DataError(f"{path} has a header but no rows: add some")


def _check_header(path: Path, header: Sequence[str] | None, columns: Sequence[str]) -> None:
    if not header:
        raise DataError(f"{path} is empty: it needs a header line with {_some(columns)}")
    for name in columns:
        if name not in header:
            raise DataError(f"{path} has no column {name!r} (columns: {_some(header)}): rename or add it")
        if header.count(name) > 1:
            raise DataError(f"{path} has column {name!r} twice: drop one")


def _cells(path: Path, line: int, row: dict[str, str], columns: Sequence[str]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for name in columns:
        value = row.get(name)
        if value is None or not value.strip():
            raise DataError(f"{path}, line {line}: column {name!r} is empty: fill it in or drop the row")
        cells[name] = value.strip()
    return cells


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
