"""Draws texts from a file that need not fit the memory: one pass, and each readable text has the same chance."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

from petapter.runtime.files.chunks import BrokenRow, TextRow, chunks
from petapter.runtime.files.rows import open_rows
from petapter.task.encoding import Fields
from petapter_schemas.errors import DataError

_MOST_CHARACTERS = 20_000
"""Kept of each text field while the file is read; no backbone here reads more, and a cell may have a million."""
_ROWS_AT_ONCE = 4096

Item = TypeVar("Item")


@dataclass(frozen=True)
class DrawnText:
    """A text of a file.

    Attributes:
        row: Its number in the file, from 1, without header and blank lines.
        fields: The first 20,000 characters of each text field.
    """

    row: int
    fields: Fields


@dataclass(frozen=True)
class DrawnTexts:
    """What was drawn of a file.

    Attributes:
        texts: In the order of the file.
        readable: How many texts there are in it.
        broken: Rows without a text that can be read.
        first_broken: The first of them, for a message.
    """

    texts: tuple[DrawnText, ...]
    readable: int
    broken: int
    first_broken: BrokenRow | None


def draw(items: Iterable[Item], most: int, seed: int) -> list[Item]:
    """So many of some items, all of them where there are no more, in one pass (Vitter 1985, algorithm R)."""
    random = Random(seed)  # noqa: S311 (a sample, no secret)
    kept: list[Item] = []
    for count, item in enumerate(items, start=1):
        if len(kept) < most:
            kept.append(item)
        elif (at := random.randrange(count)) < most:
            kept[at] = item
    return kept


def evenly_spread(items: Sequence[Item], most: int) -> list[Item]:
    """So many of some items, as far apart as can be; all where there are no more."""
    count = min(len(items), most)
    return [items[number * len(items) // count] for number in range(count)]


def draw_texts(path: Path, fields: Sequence[str], most: int, seed: int) -> DrawnTexts:
    """Draw texts without putting any back; all of them where the file has no more.

    Args:
        path: `.csv` with a header, `.jsonl`, `.ndjson` or `.parquet`; a chunk of it is in memory at a time.
        fields: The columns of the text fields.
        most: How many to draw, at least 1.
        seed: The same file, number and seed draw the same texts.

    Raises:
        DataError: The file cannot be read, lacks a column, or holds no text.
        InputError: It is Parquet, and pyarrow is missing.
    """
    readable, count = 0, 0
    broken: list[BrokenRow] = []

    def texts() -> Iterator[DrawnText]:
        nonlocal readable, count, broken
        for row in _rows(path, fields):
            if isinstance(row, BrokenRow):
                count += 1
                broken = broken or [row]
            else:
                readable += 1
                yield DrawnText(row.number, _cut(row.fields))

    kept = draw(texts(), most, seed)
    if not readable:
        raise DataError(f"{path} holds no text{_why(broken)}: give one with a row for each text")
    return DrawnTexts(tuple(sorted(kept, key=lambda text: text.row)), readable, count, broken[0] if broken else None)


def texts_at(path: Path, fields: Sequence[str], numbers: Sequence[int]) -> dict[int, Fields]:
    """The whole texts of some rows by their numbers, in one pass that ends at the last of them.

    Raises:
        DataError: The file cannot be read, or has changed so that such a row holds no text any more.
    """
    wanted, found = set(numbers), dict[int, Fields]()
    for row in _rows(path, fields):
        if isinstance(row, TextRow) and row.number in wanted:
            found[row.number] = row.fields
        if len(found) == len(wanted):
            return found
    raise DataError(f"{path} was changed while it was read: run the command again")


def _rows(path: Path, fields: Sequence[str]) -> Iterator[TextRow | BrokenRow]:
    with open_rows(path, fields) as reader:
        for chunk in chunks(reader.rows(), fields, (), _ROWS_AT_ONCE):
            yield from chunk.rows
            yield from chunk.broken


def _cut(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: text[:_MOST_CHARACTERS] for name, text in fields.items()}


def _why(broken: Sequence[BrokenRow]) -> str:
    return f" (row {broken[0].number} {broken[0].reason})" if broken else ""
