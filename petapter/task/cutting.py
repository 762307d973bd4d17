"""Which tokens of a field are read when the whole does not fit: one end, both ends, or windows over all of it."""

from petapter_schemas.task import PatternSpec, WindowSpec

Piece = tuple[range, ...]
"""Positions of the field's tokens that are read together, as ascending ranges that do not touch."""

_HEAD_SHARE = 4
"""Of `head+tail` one token in four comes from the start: 128 and 382 of 510 were best for long documents in Sun, Qiu,
Xu and Huang 2019 (arXiv 1905.05583)."""


def pieces(length: int, room: int, pattern: PatternSpec) -> list[Piece]:
    """What is read of a field; more than one piece only where the pattern asks for windows.

    Args:
        length: Tokens of the field.
        room: Tokens that may be read at once, at least 1 if the field is longer.
        pattern: Says what to keep.
    """
    if length <= room:
        return [(range(length),)]
    if (windowing := pattern.windowing) is not None:
        return [(range(start, start + room),) for start in _starts(length, room, windowing)]
    head = {"head": room, "tail": 0, "head+tail": -(-room // _HEAD_SHARE)}[pattern.keep]
    return [tuple(part for part in (range(head), range(length - room + head, length)) if part)]


def unread(length: int, read: list[Piece]) -> int:
    """How many of a field's tokens are in no piece."""
    return length - len({position for piece in read for part in piece for position in part})


def _starts(length: int, room: int, windowing: WindowSpec) -> list[int]:
    """Where the windows begin: every `stride` of a window, the last one flush with the end; evenly if too many."""
    step = max(1, int(room * windowing.stride))
    last = length - room
    starts = [*range(0, last, step), last]
    if len(starts) <= windowing.at_most:
        return starts
    if windowing.at_most == 1:
        return [0]
    return [i * last // (windowing.at_most - 1) for i in range(windowing.at_most)]
