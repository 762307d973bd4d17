"""Opens a file of texts that need not fit the memory; which reader belongs to which suffix is known here alone."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from petapter.runtime.files.csv_rows import CsvRows
from petapter.runtime.files.input_row import InputRow
from petapter.runtime.files.json_rows import JsonRows
from petapter.runtime.files.lines import Lines
from petapter.runtime.files.parquet import open_parquet
from petapter_schemas.errors import DataError

Format = Literal["csv", "jsonl", "parquet"]

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class RowReader(Protocol):
    """An open file of rows."""

    def rows(self) -> Iterator[InputRow]:
        """Yield all rows in order, broken ones too; blank lines are no rows."""

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""


def format_of(path: Path) -> Format | None:
    """What the suffix says of a file; None if it says nothing."""
    return _SUFFIXES.get(path.suffix.lower())


@contextmanager
def open_rows(path: Path, columns: Sequence[str]) -> Iterator[RowReader]:
    """Open a CSV file with a header or, by its suffix, JSON Lines or Parquet; the text is UTF-8.

    Args:
        path: The file.
        columns: The columns that are wanted. In JSON Lines each row may have other keys.

    Raises:
        DataError: The file cannot be read or lacks a column; a broken row is no error, it is yielded as such.
        InputError: It is Parquet, and pyarrow is missing.
    """
    form = format_of(path)
    with open_parquet(path, columns) if form == "parquet" else _open_text(path, form, columns) as reader:
        yield reader


@contextmanager
def _open_text(path: Path, form: Format | None, columns: Sequence[str]) -> Iterator[RowReader]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    with stream:
        lines = Lines(stream, path, os.fstat(stream.fileno()).st_size)
        yield JsonRows(lines) if form == "jsonl" else CsvRows(lines, path, columns)
