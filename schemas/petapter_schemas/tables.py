"""Rows of a CSV or JSON Lines file with their places; knows how cells are written, but no task and no label."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter_schemas import strict_json
from petapter_schemas.errors import DataError, ManifestError

MAX_CELL_CHARACTERS = 1_000_000

_JSON_LINES = (".jsonl", ".ndjson")
_MAX_LINE_BYTES = 32 * 1024 * 1024
_SHOWN = 5
_MOST_SHOWN = 40


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        place: File and line, for messages.
        cells: By column, among them possibly some that nobody asks for; texts, or in JSON Lines any value.
    """

    place: str
    cells: Mapping[str, object]

    def text(self, column: str) -> str:
        """A cell that must hold a text, without the blanks around it.

        Raises:
            DataError: The cell is missing, empty, too large or no text.
        """
        value = self.cells.get(column)
        if value is None or value == "":
            raise DataError(f"{self.place}: column {column!r} is empty: fill it in or drop the row")
        if not isinstance(value, str):
            raise DataError(f"{self.place}: column {column!r} holds {_kind(value)} where a text belongs: quote it")
        if len(value) > MAX_CELL_CHARACTERS:
            raise DataError(
                f"{self.place}: column {column!r} has {len(value)} characters, more than the field limit "
                f"({MAX_CELL_CHARACTERS}): shorten it"
            )
        if not (stripped := value.strip()):
            raise DataError(f"{self.place}: column {column!r} is empty: fill it in or drop the row")
        return stripped

    def positive_number(self, column: str) -> float:
        """A cell that must hold a finite number above 0.

        Raises:
            DataError: It does not.
        """
        value = self.cells.get(column)
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
                raise ValueError  # noqa: TRY301 (float() takes "1_000" and True, a reader of the file would not)
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise DataError(
                f"{self.place}: column {column!r} must be a number above 0, not {_shown(value)}: correct it"
            )
        return number


def read_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """Read a CSV file with a header or, by its suffix `.jsonl` or `.ndjson`, one JSON object per line.

    Args:
        path: UTF-8, with or without a byte order mark.
        columns: The columns that must be there; in JSON Lines they are checked when a row is asked for them.
        optional: Further columns the caller reads where they exist; no column of either kind may occur twice.

    Raises:
        DataError: The file cannot be read, holds no rows or lacks a column.
    """
    rows = _json_rows(path) if path.suffix.lower() in _JSON_LINES else _csv_rows(path, columns, optional)
    found = False
    try:
        for row in rows:
            found = True
            yield row
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} is no readable CSV: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not found:
        raise DataError(f"{path} has no rows: add some")


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _csv_rows(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True, restkey="")
        check_header(path, reader.fieldnames, columns, optional)
        for cells in reader:
            yield Row(f"{path}, line {reader.line_num}", cells)


def check_header(
    path: Path, header: Sequence[str] | None, columns: Sequence[str], optional: Sequence[str] = ()
) -> list[str]:
    """The header of a file, in which every wanted column stands, and none of these twice.

    Raises:
        DataError: It does not.
    """
    if not header:
        raise DataError(f"{path} is empty: it needs a header line with {some(columns)}")
    for name in columns:
        if name not in header:
            raise DataError(f"{path} has no column {name!r} (columns: {some(header)}): rename or add it")
    for name in (*columns, *optional):
        if header.count(name) > 1:
            raise DataError(f"{path} has column {name!r} twice: drop one")
    return list(header)


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(_MAX_LINE_BYTES + 1):
            number += 1
            data = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if data.strip():
                yield _json_row(f"{path}, line {number}", data)


def _json_row(place: str, data: bytes) -> Row:
    try:
        value = strict_json.loads(data, source=place, max_bytes=_MAX_LINE_BYTES)
    except ManifestError as error:
        raise DataError(f"{error}: correct the line") from error
    if not isinstance(value, dict):
        raise DataError(f'{place} is no JSON object: write {{"text": …, "label": …}}')
    return Row(place, value)


def _kind(value: object) -> str:
    kinds = {str: "a text", bool: "a truth value", list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | int | float) and len(str(value)) <= _MOST_SHOWN else _kind(value)
