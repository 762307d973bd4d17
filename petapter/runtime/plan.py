"""Which encodings run together, in which order, and where each of them then stands: pure arithmetic on the host.

Encodings are packed: one after the other without padding, sorted by bank, module, pattern and length. So the tokens of
a bank are one span and those of a module one run in it, which is what grouped matrix products ask for. Attention is the
one place that looks across the tokens of a text: there, encodings of like length are taken together.

Where several modules read the same tokens and adapt upper layers alone, the layers below run once for all of them: a
pass has a trunk then, of each encoding one, and is packed by text first, so that those who share it go together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from petapter.task.encoding import length_batches

_LEAST_SHARE = 0.9
"""Share of the tokens of a bucket that are real, at least, unless it has few encodings."""
_FEW = 8
"""Encodings that are taken together whatever their lengths: below it a call costs more than what it pads."""


@dataclass(frozen=True)
class Item:
    """One encoding to run.

    Attributes:
        bank: Number of the bank that holds its module's adapter; None for a module without.
        module: Number of its module.
        pattern: Number of the pattern in the module.
        length: Tokens.
        text: Items of the same number have the same tokens.
        lowest: The lowest layer that its adapter changes; 0 where the layers below are not to be shared.
    """

    bank: int | None
    module: int
    pattern: int
    length: int
    text: int = -1
    lowest: int = 0


@dataclass(frozen=True)
class Span:
    """The tokens of one bank.

    Attributes:
        bank: Its number.
        start: First token.
        modules: Those that occur, in order.
        ends: By module, where its tokens end, counted from `start`; at least one token each.
    """

    bank: int
    start: int
    modules: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def stop(self) -> int:
        """Behind the last token."""
        return self.start + self.ends[-1]

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens by module."""
        return tuple(end - before for before, end in zip((0, *self.ends), self.ends, strict=False))


@dataclass(frozen=True)
class Group:
    """The encodings of one module in one of its patterns.

    Attributes:
        module: Its number.
        pattern: Number of the pattern.
        first: Its first place in the pack.
        last: Behind its last place.
    """

    module: int
    pattern: int
    first: int
    last: int


@dataclass(frozen=True)
class Trunk:
    """The part of a pass in which no adapter acts yet, and encodings that are the same run once.

    Attributes:
        layers: How many layers it has.
        order: Numbers of the items that stand for their like, by place in the trunk.
        starts: First token, by place in the trunk.
        lengths: Tokens, by place in the trunk.
        buckets: Places in the trunk that attention takes together.
        place_of: By place of the pack, where its like stands in the trunk.
    """

    layers: int
    order: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    buckets: tuple[tuple[int, ...], ...]
    place_of: tuple[int, ...]


@dataclass(frozen=True)
class Pack:
    """What runs in one pass.

    Attributes:
        order: Numbers of the items, by place.
        starts: First token, by place.
        lengths: Tokens, by place.
        spans: Banks in the order of their tokens.
        groups: Modules and patterns in the order of their places.
        buckets: Places that attention takes together, each in one bucket.
        trunk: Layers that run once for encodings that are the same; None where all layers run for each.
    """

    order: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    spans: tuple[Span, ...]
    groups: tuple[Group, ...]
    buckets: tuple[tuple[int, ...], ...]
    trunk: Trunk | None = None

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.starts[-1] + self.lengths[-1]


def plan(
    items: Sequence[Item], tokens_per_pack: int, *, apart: bool = False, only: Sequence[int] | None = None
) -> list[Pack]:
    """Pack items for passes of at most so many tokens each, but at least one item.

    Args:
        items: In any order.
        tokens_per_pack: Tokens of a pass, or, if `apart`, tokens when all are padded to the longest.
        apart: A pass holds one module alone, and its items are padded to the longest: for architectures whose layers
            have weights that do not belong to a token.
        only: Numbers of the items to pack; all by default.
    """
    chosen = range(len(items)) if only is None else only
    if apart:
        return list(_apart(items, chosen, tokens_per_pack))
    packs: list[Pack] = []
    sharing, others = _sharing(items, chosen)
    for lowest in sorted({items[number].lowest for number in sharing}):
        own = [number for number in sharing if items[number].lowest == lowest]
        own.sort(key=lambda number: items[number].text)
        packs += [
            pack_of(items, sorted(part, key=lambda number: _rank(items[number])), share=lowest)
            for part in _cut(items, own, tokens_per_pack)
        ]
    others.sort(key=lambda number: _rank(items[number]))
    return packs + [pack_of(items, part) for part in _cut(items, others, tokens_per_pack)]


def _apart(items: Sequence[Item], chosen: Sequence[int], tokens_per_pack: int) -> Iterator[Pack]:
    ranked = sorted(chosen, key=lambda number: _rank(items[number]))
    for _, own in groupby(ranked, key=lambda number: (items[number].module, items[number].pattern)):
        numbers = list(own)
        for part in length_batches([items[number].length for number in numbers], tokens_per_pack):
            yield pack_of(items, [numbers[row] for row in part], padded=True)


def _sharing(items: Sequence[Item], chosen: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of the chosen items those that others are the same as, up to the same layer, and the rest."""
    shared_at = {number: (items[number].lowest, items[number].text) for number in chosen}
    count = Counter((lowest, text) for lowest, text in shared_at.values() if lowest and text >= 0)
    sharing: list[int] = []
    others: list[int] = []
    for number, key in shared_at.items():
        (sharing if count[key] > 1 else others).append(number)
    return sharing, others


def _rank(item: Item) -> tuple[int, int, int, int]:
    return (-1 if item.bank is None else item.bank, item.module, item.pattern, item.length)


def _cut(items: Sequence[Item], numbers: Sequence[int], limit: int) -> Iterator[list[int]]:
    part: list[int] = []
    tokens = 0
    for number in numbers:
        length = items[number].length
        if part and tokens + length > limit:
            yield part
            part, tokens = [], 0
        part.append(number)
        tokens += length
    if part:
        yield part


def pack_of(
    items: Sequence[Item], order: Sequence[int], *, padded: bool = False, share: int = 0, parted: bool = False
) -> Pack:
    """One pass.

    Args:
        items: From which the order chooses.
        order: Their numbers; those of a bank, and in it those of a module in a pattern, stand together.
        padded: All get the length of the longest.
        share: Layers, from the lowest, that run once for items that are the same; 0 runs all for each.
        parted: Attention never takes items of two modules together, so that how it rounds does not depend on others.
    """
    longest = max(items[number].length for number in order)
    lengths = tuple(longest if padded else items[number].length for number in order)
    starts = tuple(sum_before(lengths))
    groups = tuple(_groups(items, order))
    parts = [range(group.first, group.last) for group in groups] if parted else [range(len(order))]
    return Pack(
        tuple(order),
        starts,
        lengths,
        tuple(spans_of(items, order, lengths)),
        groups,
        tuple(bucket for places in parts for bucket in _buckets(lengths, places)),
        _trunk(items, order, share) if share else None,
    )


def _trunk(items: Sequence[Item], order: Sequence[int], layers: int) -> Trunk | None:
    """The trunk of a pass; None where no two of its items are the same."""
    first_of: dict[int, int] = {}
    for number in order:
        first_of.setdefault(items[number].text, number)
    if len(first_of) == len(order):
        return None
    own = tuple(first_of.values())
    place = {items[number].text: place for place, number in enumerate(own)}
    lengths = tuple(items[number].length for number in own)
    return Trunk(
        layers,
        own,
        tuple(sum_before(lengths)),
        lengths,
        tuple(_buckets(lengths, range(len(own)))),
        tuple(place[items[number].text] for number in order),
    )


def sum_before(lengths: Sequence[int]) -> Iterator[int]:
    """By place, the sum of all lengths before it."""
    total = 0
    for length in lengths:
        yield total
        total += length


def spans_of(items: Sequence[Item], order: Sequence[int], lengths: Sequence[int]) -> Iterator[Span]:
    """The banks of items that stand one after the other with so many tokens each."""
    start = 0
    for bank, own in groupby(zip(order, lengths, strict=True), key=lambda placed: items[placed[0]].bank):
        modules: list[int] = []
        ends: list[int] = []
        end = 0
        for module, placed in groupby(own, key=lambda placed: items[placed[0]].module):
            end += sum(length for _, length in placed)
            modules.append(module)
            ends.append(end)
        if bank is not None:
            yield Span(bank, start, tuple(modules), tuple(ends))
        start += end


def _groups(items: Sequence[Item], order: Sequence[int]) -> Iterator[Group]:
    place = 0
    for (module, pattern), own in groupby(order, key=lambda number: (items[number].module, items[number].pattern)):
        last = place + len(list(own))
        yield Group(module, pattern, place, last)
        place = last


def _buckets(lengths: Sequence[int], places: Iterable[int]) -> Iterator[tuple[int, ...]]:
    """Places by length, the longest first, as many together as leave few gaps."""
    bucket: list[int] = []
    tokens = 0
    for place in sorted(places, key=lambda place: -lengths[place]):
        padded = (len(bucket) + 1) * lengths[bucket[0]] if bucket else lengths[place]
        if len(bucket) >= _FEW and tokens + lengths[place] < _LEAST_SHARE * padded:
            yield tuple(sorted(bucket))
            bucket, tokens = [], 0
        bucket.append(place)
        tokens += lengths[place]
    if bucket:
        yield tuple(sorted(bucket))
