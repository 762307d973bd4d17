"""Passes of few shapes: what is recorded once runs again only where every size is the same, so sizes are rounded up.

A pass is cut into sections, one for what no adapter changes and one for each bank. Each is filled up to a size that
many passes have, by texts of padding tokens that nobody reads; they count as more texts of the section's last module,
or of none. Modules and texts are filled up by empty ones. All else of a pass is numbers, which may differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from petapter.runtime.plan import Pack, sum_before

_LEAST_TOKENS, _LEAST_TEXTS, _LEAST_LONGEST = 64, 8, 128
_STEPS = 2
"""Sizes of tokens from one power of two to the next: at most a third of a section is filling, and shapes are few."""


@dataclass(frozen=True)
class Section:
    """The tokens of one bank, or of modules without an adapter.

    Attributes:
        bank: Its number; None without adapters.
        tokens: With those that fill up.
        modules: Likewise; 0 without adapters.
    """

    bank: int | None
    tokens: int
    modules: int


@dataclass(frozen=True)
class Shape:
    """All sizes of a pass.

    Attributes:
        sections: In the order of their tokens.
        texts: With those that fill up, and empty ones.
        longest: Tokens that none of them exceeds.
        pooled: Lower layers that heads read.
    """

    sections: tuple[Section, ...]
    texts: int
    longest: int
    pooled: frozenset[int]

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(section.tokens for section in self.sections)


@dataclass(frozen=True)
class Filled:
    """A pass in its shape.

    Attributes:
        shape: The shape.
        starts: First token, by place of the pack.
        texts: By text with those that fill up, its place in the pack, or None, and its tokens.
        ends: By section, where the tokens of each of its modules end, counted from its first; () without adapters.
        modules: By section, which modules these are; fewer than the shape has room for.
    """

    shape: Shape
    starts: tuple[int, ...]
    texts: tuple[tuple[int | None, int], ...]
    ends: tuple[tuple[int, ...], ...]
    modules: tuple[tuple[int, ...], ...]


def filled(pack: Pack, pooled: frozenset[int], most: int) -> Filled:
    """A pass without a trunk, filled up to its shape.

    Args:
        pack: The pass.
        pooled: Lower layers that heads read.
        most: Tokens of a text that the model has positions for.
    """
    longest = min(_power_of_two(max(pack.lengths), _LEAST_LONGEST), most)
    spans = {span.start: span for span in pack.spans}
    sections: list[Section] = []
    texts: list[tuple[int | None, int]] = []
    ends: list[tuple[int, ...]] = []
    modules: list[tuple[int, ...]] = []
    for places in _sections(pack):
        span = spans.get(pack.starts[places[0]])
        own = sum(pack.lengths[place] for place in places)
        tokens = _size(own)
        texts += [(place, pack.lengths[place]) for place in places]
        texts += [(None, length) for length in _parts(tokens - own, longest)]
        if span is None:
            sections.append(Section(None, tokens, 0))
            ends.append(())
            modules.append(())
        else:
            room = _power_of_two(len(span.modules), 1)
            sections.append(Section(span.bank, tokens, room))
            ends.append((*span.ends[:-1], *[tokens] * (room - len(span.ends) + 1)))
            modules.append(span.modules)
    first = list(sum_before([length for _, length in texts]))
    starts = tuple(start for start, (place, _) in zip(first, texts, strict=True) if place is not None)
    shape = Shape(tuple(sections), _power_of_two(len(texts), _LEAST_TEXTS), longest, pooled)
    return Filled(shape, starts, tuple(texts), tuple(ends), tuple(modules))


def _sections(pack: Pack) -> Iterator[list[int]]:
    """Places of each bank, or of none, in the order of the pack."""
    bank_of = [
        next((span.bank for span in pack.spans if span.start <= start < span.stop), None) for start in pack.starts
    ]
    for _, own in groupby(range(len(bank_of)), key=bank_of.__getitem__):
        yield list(own)


def _parts(tokens: int, longest: int) -> Iterator[int]:
    """Texts of so many tokens in all."""
    while tokens > 0:
        yield min(tokens, longest)
        tokens -= longest


def _power_of_two(count: int, least: int) -> int:
    return max(least, 1 << (count - 1).bit_length())


def _size(tokens: int) -> int:
    """The next of the sizes that passes have: powers of two, and between two of them _STEPS - 1 others."""
    power = _power_of_two(tokens, _LEAST_TOKENS)
    if power == _LEAST_TOKENS:
        return power
    step = power // (2 * _STEPS)
    return -(-tokens // step) * step
