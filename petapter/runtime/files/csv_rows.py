"""Rows of a CSV file, with broken ones in their midst; how reading gets past these is known here alone."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter.runtime.files.input_row import InputRow
from petapter.runtime.files.lines import MAX_LINE_BYTES, Line, Lines
from petapter_schemas.errors import DataError
from petapter_schemas.tables import MAX_CELL_CHARACTERS, check_header


@dataclass(frozen=True)
class _Record:
    """What stands on one line, or on several if a quoted cell spans them: cells, or why there are none."""

    line: int
    cells: list[str]
    reason: str | None


class CsvRows:
    """Reads rows of as many cells as the header has.

    A record whose quotes do not end, or not where a cell ends, is broken on its first line alone, and reading goes on
    with the next line: a quote too many does not swallow the rows behind it.
    """

    def __init__(self, lines: Lines, path: Path, columns: Sequence[str]) -> None:
        """Read the header.

        Raises:
            DataError: There is none, or it lacks a column or has one twice.
        """
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        self._lines = lines
        self._records = _records(lines)
        self._header = _read_header(path, next(self._records, None), columns)

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""
        return self._lines.share

    def rows(self) -> Iterator[InputRow]:
        """Yield all rows behind the header."""
        for number, record in enumerate(self._records, start=1):
            reason = record.reason
            if reason is None and len(record.cells) != len(self._header):
                reason = f"has {len(record.cells)} cells where the header has {len(self._header)}"
            cells = dict(zip(self._header, record.cells, strict=True)) if reason is None else {}
            yield InputRow(number, record.line, cells, reason)


class _Feed:
    """Gives csv.reader one line after another and remembers those of the record it is at."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self.taken: list[Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.taken.append(line)
        return line.data.decode("utf-8", "surrogateescape")  # so that a bad byte does not hide where the record ends


def _records(lines: Lines) -> Iterator[_Record]:
    """All records but blank lines."""
    feed = _Feed(lines)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.taken = []
        try:
            cells = next(reader, None)
        except csv.Error as error:
            lines.put_back(feed.taken[1:])
            reader = csv.reader(feed, strict=True)
            yield _Record(feed.taken[0].number, [], f"is no readable CSV ({error})")
            continue
        if cells is None:
            return
        if cells:
            yield _Record(feed.taken[0].number, cells, _damage(feed.taken, cells))


def _damage(taken: Sequence[Line], cells: Sequence[str]) -> str | None:
    if any(line.is_cut for line in taken):
        return f"has a line of more than {MAX_LINE_BYTES} bytes"
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


def _read_header(path: Path, record: _Record | None, columns: Sequence[str]) -> list[str]:
    if record is not None and record.reason is not None:
        raise DataError(f"{path}: the header {record.reason}: correct it, or save the file as CSV in UTF-8")
    return check_header(path, None if record is None else record.cells, columns)
