"""Where the lines and points of intervals and of a lineage lie, as values for SVG."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from petapter_schemas.evaluation_api import BoardLine
from petapter_schemas.module_facts import MetricFacts
from petapter_schemas.registry_api import Lineage, Relative

_NODE_WIDTH = 220
_NODE_HEIGHT = 44
_GAP_X = 70
_GAP_Y = 14
_MOST_SHOWN = 12


@dataclass(frozen=True)
class Whisker:
    """An interval between 0 and 1 on a line of 100: its ends and the figure. None where the figure lies elsewhere."""

    low: float
    high: float
    value: float


@dataclass(frozen=True)
class Node:
    """A module in a lineage; `href` leads to its page where it is here."""

    x: int
    y: int
    title: str
    note: str
    href: str | None
    is_self: bool = False


@dataclass(frozen=True)
class Graph:
    """A lineage from left to right: where it comes from, the module, and what was made from it."""

    width: int
    height: int
    nodes: Sequence[Node]
    edges: Sequence[tuple[int, int, int, int]]
    more: int


def whisker(figure: MetricFacts | BoardLine) -> Whisker | None:
    """A figure between 0 and 1 with its interval."""
    if not 0 <= figure.value <= 1:
        return None
    low, high = (min(max(end, 0.0), 1.0) * 100 for end in (figure.low, figure.high))
    return Whisker(low, high, figure.value * 100)


def lineage_graph(lineage: Lineage) -> Graph | None:
    """The relatives of a module around it; None where none is known."""
    before = [_Told(relative, "trained on from") for relative in ([lineage.parent] if lineage.parent else [])]
    before += [_Told(relative, "merged from") for relative in lineage.merged_from]
    after = [_Told(relative, "made from it") for relative in lineage.children]
    if not before and not after:
        return None
    hidden = max(len(before) - _MOST_SHOWN, 0) + max(len(after) - _MOST_SHOWN, 0)
    columns = [column for column in (before[:_MOST_SHOWN], [None], after[:_MOST_SHOWN]) if column]
    height = max(len(column) for column in columns) * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y
    placed = [
        [
            _node(told, lineage, place * (_NODE_WIDTH + _GAP_X), y)
            for told, y in zip(column, _rows(column, height), strict=True)
        ]
        for place, column in enumerate(columns)
    ]
    edges = [
        (left.x + _NODE_WIDTH, left.y + _NODE_HEIGHT // 2, right.x, right.y + _NODE_HEIGHT // 2)
        for one, other in itertools.pairwise(placed)
        for left in one
        for right in other
    ]
    width = len(columns) * (_NODE_WIDTH + _GAP_X) - _GAP_X
    return Graph(width, height, [node for column in placed for node in column], edges, hidden)


@dataclass(frozen=True)
class _Told:
    relative: Relative
    how: str


def _rows(column: Sequence[object], height: int) -> list[int]:
    used = len(column) * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y
    return [(height - used) // 2 + number * (_NODE_HEIGHT + _GAP_Y) for number in range(len(column))]


def _node(told: _Told | None, lineage: Lineage, x: int, y: int) -> Node:
    if told is None:
        return Node(x, y, _short(lineage.id), f"{lineage.version or 'main'}: this one", None, is_self=True)
    found = told.relative
    if found.id is None:
        return Node(x, y, f"sha256 {found.digest[:12]}", f"{told.how}; not here", None)
    return Node(x, y, _short(found.id), f"{found.version}: {told.how}", f"/{found.id}?revision=v{found.version}")


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"  # noqa: PLR2004 (what fits into a node)
