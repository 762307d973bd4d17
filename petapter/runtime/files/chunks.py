"""Cuts a stream of rows into pieces that fit the memory, and tells rows that can be asked about from broken ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from petapter.runtime.files.input_row import InputRow
from petapter_schemas.errors import DataError
from petapter_schemas.tables import Row

MAX_CHARACTERS = 1 << 24
"""Of the texts in one chunk; the chunk is closed by the text that reaches it."""

_MAX_ROWS = 4096
_LEAST_ROWS = 256
_MAX_REQUESTS = 32_768


@dataclass(frozen=True)
class TextRow:
    """A row to be answered.

    Attributes:
        number: Its number in the file.
        fields: Its texts by field, without the blanks around them.
        kept: Cells of the columns that the answers shall bear too, in the order asked for; None where there is none.
    """

    number: int
    fields: Mapping[str, str]
    kept: tuple[object, ...] = ()


@dataclass(frozen=True)
class BrokenRow:
    """A row that gets no answer; `line` is None in Parquet."""

    number: int
    line: int | None
    reason: str


@dataclass(frozen=True)
class Chunk:
    """Successive rows."""

    rows: tuple[TextRow, ...]
    broken: tuple[BrokenRow, ...]

    @property
    def size(self) -> int:
        """How many rows of the file it has."""
        return len(self.rows) + len(self.broken)


def chunk_rows(modules: int) -> int:
    """How many rows one chunk has at most when so many modules are asked: some thousands, fewer of very many."""
    return min(_MAX_ROWS, max(_LEAST_ROWS, _MAX_REQUESTS // max(1, modules)))


def chunks(rows: Iterable[InputRow], fields: Sequence[str], keep: Sequence[str], size: int) -> Iterator[Chunk]:
    """Yield successive chunks of up to `size` rows; one at a time is held, and no row beyond it was taken."""
    readable: list[TextRow] = []
    broken: list[BrokenRow] = []
    characters = 0
    for row in rows:
        found = _read(row, fields, keep)
        if isinstance(found, BrokenRow):
            broken.append(found)
        else:
            readable.append(found)
            characters += sum(map(len, found.fields.values()))
        if len(readable) + len(broken) >= size or characters >= MAX_CHARACTERS:
            yield Chunk(tuple(readable), tuple(broken))
            readable, broken, characters = [], [], 0
    if readable or broken:
        yield Chunk(tuple(readable), tuple(broken))


def _read(row: InputRow, fields: Sequence[str], keep: Sequence[str]) -> TextRow | BrokenRow:
    if row.reason is not None:
        return BrokenRow(row.number, row.line, row.reason)
    cells = Row("row", row.cells)
    try:
        texts = {name: cells.text(name) for name in fields}
    except DataError as error:
        return BrokenRow(row.number, row.line, str(error).removeprefix("row: "))
    return TextRow(row.number, texts, tuple(row.cells.get(name) for name in keep))
