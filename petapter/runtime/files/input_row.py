"""One row of a file as a reader found it: its number, its line, and its cells or why it has none."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class InputRow:
    """One row of a file.

    Attributes:
        number: Its number among the rows, from 1; blank lines are no rows.
        line: The line it begins on, from 1; None in Parquet.
        cells: By column; empty of a broken row.
        reason: Why it cannot be read, without a word of what it says; None if it can.
    """

    number: int
    line: int | None
    cells: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None
