# ruff: noqa: PLC0415 (pyarrow is an extra and is imported when a Parquet file is opened, not before)
"""Reads and writes Parquet; the one place that imports pyarrow, which a user may not have."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from petapter.runtime.files.input_row import InputRow
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.tables import some

ColumnType = Literal["int64", "int32", "float32", "text", "texts"]

_BATCH_ROWS = 1024


def check_installed(path: Path) -> None:
    """Refuse a Parquet file where nothing can read it.

    Raises:
        InputError: pyarrow is missing.
    """
    if find_spec("pyarrow") is None:
        raise InputError(f"{path} needs pyarrow: pip install 'petapter[parquet]', or use .csv or .jsonl")


class ParquetRows:
    """Reads chosen columns, some rows at a time."""

    def __init__(self, path: Path, file: Any, columns: Sequence[str]) -> None:  # noqa: ANN401 (pyarrow has no types)
        """Read from an open pyarrow.parquet.ParquetFile, which stays the caller's; the path is for messages."""
        self._path = path
        self._file = file
        self._columns = list(columns)
        self._read = 0

    @property
    def share(self) -> float:
        """How much of the file was read so far, from 0 to 1."""
        rows: int = self._file.metadata.num_rows
        return self._read / rows if rows else 1.0

    def rows(self) -> Iterator[InputRow]:
        """Yield all rows; they have numbers but no lines.

        Raises:
            DataError: The file is damaged.
        """
        with _reading(self._path):  # a generator: what the caller does with a row does not pass through here
            for batch in self._file.iter_batches(batch_size=_BATCH_ROWS, columns=self._columns):
                values = {name: _values(batch.column(name)) for name in self._columns}
                for index in range(batch.num_rows):
                    self._read += 1
                    yield _row(self._read, {name: column[index] for name, column in values.items()})


@contextmanager
def open_parquet(path: Path, columns: Sequence[str]) -> Iterator[ParquetRows]:
    """Open a Parquet file.

    Raises:
        DataError: It is damaged or lacks a column.
        InputError: pyarrow is missing.
    """
    check_installed(path)
    from pyarrow.parquet import ParquetFile

    with _reading(path):
        file = ParquetFile(path)
    with file:
        names = file.schema_arrow.names
        for name in columns:
            if name not in names:
                raise DataError(f"{path} has no column {name!r} (columns: {some(names)}): rename or add it")
            if names.count(name) > 1:
                raise DataError(f"{path} has column {name!r} twice: drop one")
        yield ParquetRows(path, file, columns)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable Parquet: {' '.join(str(error).split())}") from error


def write_table(path: Path, types: Mapping[str, ColumnType], rows: Sequence[Sequence[object]]) -> None:
    """Write rows of values, in the order of the columns, as a file of one row group.

    Raises:
        OSError: The disk refused.
    """
    import pyarrow as pa
    from pyarrow.parquet import write_table

    arrow = {
        "int64": pa.int64(),
        "int32": pa.int32(),
        "float32": pa.float32(),
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
    }
    columns = list(zip(*rows, strict=True)) or [()] * len(types)
    arrays = [pa.array(column, arrow[kind]) for column, kind in zip(columns, types.values(), strict=True)]
    write_table(pa.Table.from_arrays(arrays, names=list(types)), path)


def join_tables(parts: Sequence[Path], path: Path) -> None:
    """Write the row groups of several files of equal columns into one, holding one file at a time.

    Raises:
        OSError: The disk refused.
    """
    from pyarrow.parquet import ParquetWriter, read_schema, read_table

    with ParquetWriter(path, read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(read_table(part, partitioning=None))


def _values(column: Any) -> list[object]:  # noqa: ANN401 (pyarrow has no types)
    """A column's values; bytes are read as UTF-8 and stay bytes where they are none."""
    import pyarrow as pa

    try:
        values: list[object] = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.binary()).to_pylist()
    return [_text(value) if isinstance(value, bytes) else value for value in values]


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _row(number: int, cells: Mapping[str, object]) -> InputRow:
    broken = [name for name, value in cells.items() if isinstance(value, bytes)]
    if broken:
        return InputRow(number, None, reason=f"column {broken[0]!r} is not UTF-8")
    return InputRow(number, None, cells)
