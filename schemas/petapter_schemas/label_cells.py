"""How several labels stand in one cell of a row: names joined by `|`, the same in files of rows and in digests."""

import re
from collections.abc import Sequence

_CELL = re.compile(r"(?:\\[\\|]|[^\\|])*")


def join_labels(names: Sequence[str]) -> str:
    r"""The one cell that means these labels, whatever their order: `a|b`, with `\|` and `\\` inside names."""
    return "|".join(name.replace("\\", r"\\").replace("|", r"\|") for name in sorted(names))


def split_labels(cell: str) -> tuple[str, ...]:
    r"""The names in a cell that joins them by `|`; `\|` is a bar inside a name, `\\` a backslash.

    Raises:
        ValueError: A backslash stands before something else, or a name is empty.
    """
    if not cell.strip():
        return ()
    names, end = [], -1
    while end < len(cell):
        match = _CELL.match(cell, end + 1)
        end = match.end() if match else len(cell)
        if end < len(cell) and cell[end] != "|":
            raise ValueError(r"a backslash must be written \\ and a bar inside a name \|")
        names.append(re.sub(r"\\([\\|])", r"\1", match.group() if match else "").strip())
    if "" in names:
        raise ValueError("a name between two bars is empty")
    return tuple(names)
