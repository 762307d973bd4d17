"""Passes of few shapes: what is recorded once runs again only where every size is the same, so sizes are rounded up.

Behind the texts of a pass stand texts of padding tokens that nobody reads, up to a number of tokens that many passes
have. Every bank that occurs acts on all tokens: those before and behind its own are of a module that changes nothing.
Modules and texts are filled up by empty ones. Where a bank begins and a module ends are numbers then, and no sizes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from petapter.runtime.plan import Pack, Span
from petapter.runtime.products import MOST_GROUPS

_LEAST_TOKENS, _LEAST_LONGEST, _LEAST_TEXTS, _LEAST_ROOM = 64, 128, 16, 4
_GROWTH = 4
"""From one number of texts, of modules or of tokens of the longest text to the next: they cost next to nothing."""


@dataclass(frozen=True)
class Shape:
    """All sizes of a pass.

    Attributes:
        tokens: With those that fill up.
        texts: With those that fill up, and empty ones.
        longest: Tokens that none of them exceeds.
        rooms: By bank that occurs, its number and the modules that it has room for, those that change nothing among
            them.
        pooled: Lower layers that heads read.
    """

    tokens: int
    texts: int
    longest: int
    rooms: tuple[tuple[int, int], ...]
    pooled: frozenset[int]


@dataclass(frozen=True)
class Filled:
    """A pass in its shape.

    Attributes:
        shape: The shape.
        filling: Tokens of the texts that fill up.
    """

    shape: Shape
    filling: tuple[int, ...]


def filled(pack: Pack, pooled: frozenset[int], most: int) -> Filled:
    """A pass without a trunk, filled up to its shape.

    Args:
        pack: The pass.
        pooled: Lower layers that heads read.
        most: Tokens of a text that the model has positions for.
    """
    longest = min(_rounded(max(pack.lengths), _LEAST_LONGEST), most)
    tokens = _size(pack.tokens)
    filling = tuple(_parts(tokens - pack.tokens, longest))
    texts = _rounded(len(pack.lengths) + len(filling), _LEAST_TEXTS)
    rooms = tuple((span.bank, min(MOST_GROUPS, _rounded(len(span.modules) + 2, _LEAST_ROOM))) for span in pack.spans)
    return Filled(Shape(tokens, texts, longest, rooms, pooled), filling)


def ends_in(span: Span, room: int, tokens: int) -> list[int]:
    """Where the tokens of each module of a bank end, the first and those from the last on changing nothing."""
    ends = [span.start, *[span.start + end for end in span.ends]]
    return ends + [tokens] * (room - len(ends))


def _parts(tokens: int, longest: int) -> Iterator[int]:
    """Texts of so many tokens in all."""
    while tokens > 0:
        yield min(tokens, longest)
        tokens -= longest


def _rounded(count: int, least: int) -> int:
    while least < count:
        least *= _GROWTH
    return least


def _size(tokens: int) -> int:
    """The next power of two, or three quarters of it: at most a third is filling, but of the smallest passes."""
    power = max(_LEAST_TOKENS, 1 << (tokens - 1).bit_length())
    less = power // 4 * 3
    return less if tokens <= less and power > _LEAST_TOKENS else power
