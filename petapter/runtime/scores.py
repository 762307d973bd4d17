"""The heads of many modules at once: g of all masks, then one grouped product for all rows of scores.

What they read where is laid out on the host first, so that nothing is copied to the device while they run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from petapter.runtime.arrays import Arrays
from petapter.runtime.heads import Features, LoadedHead, Scorer
from petapter.runtime.packed import Hidden, Read
from petapter.runtime.plan import Group, Pack
from petapter.runtime.products import Groups, grouped_product, groups_of
from petapter.task import EncodedText

_Rows = NDArray[np.int64] | list[int]


@dataclass(frozen=True)
class _Masks:
    """Groups whose heads read masks in one way.

    Attributes:
        features: That way.
        rows: Hidden states at their masks, [sum of n M].
        shapes: By number of the group: n, M.
    """

    features: Features
    rows: Tensor
    shapes: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class _Pools:
    """Groups whose heads pool the same layers.

    Attributes:
        rows: By layer, hidden states of the texts' own tokens.
        text_of: By such a token, which of the texts it is of.
        sizes: By number of the group, its texts.
    """

    rows: dict[int, Tensor]
    text_of: Tensor
    sizes: dict[int, int]


@dataclass(frozen=True)
class _Alike:
    """Groups whose heads read equally many numbers, and so are one product.

    Attributes:
        numbers: Of the groups.
        reads: Whether masks, and whether pools.
        scorers: By group.
        groups: Their texts, by group.
    """

    numbers: tuple[int, ...]
    reads: tuple[bool, bool]
    scorers: tuple[Scorer, ...]
    groups: Groups


@dataclass(frozen=True)
class HeadsPlan:
    """What the heads of a pass do.

    Attributes:
        masks: Reading masks.
        pools: Reading pools.
        alike: Scoring.
        row_of: By place, where its scores stand among those of all `alike`, [N].
        labels: Of the module with the most.
    """

    masks: tuple[_Masks, ...]
    pools: tuple[_Pools, ...]
    alike: tuple[_Alike, ...]
    row_of: Tensor
    labels: int


@dataclass(frozen=True)
class Ran:
    """What runs.

    Attributes:
        pack: The pass.
        encoded: All encodings that were planned.
        layers: Of the model.
        read: What the last of them was narrowed to.
    """

    pack: Pack
    encoded: Sequence[EncodedText]
    layers: int
    read: Read | None = None

    def places(self, groups: Iterable[Group]) -> list[int]:
        """Places of groups."""
        return [place for group in groups for place in range(group.first, group.last)]

    def text(self, place: int) -> EncodedText:
        """What stands in a place."""
        return self.encoded[self.pack.order[place]]

    def rows(self, tokens: list[int], layer: int) -> _Rows:
        """Where a layer has tokens of the pack."""
        return tokens if self.read is None or layer < self.layers else np.searchsorted(self.read.tokens, tokens)


def plan_heads(heads: Mapping[int, LoadedHead], ran: Ran, labels: int, arrays: Arrays, *, grouped: bool) -> HeadsPlan:
    """Lay out what the heads of a pass do.

    Args:
        heads: By module number.
        ran: What runs.
        labels: Of the module with the most.
        arrays: Where the numbers of rows go.
        grouped: As `groups_of` takes it.
    """
    groups = ran.pack.groups
    alike: dict[tuple[bool, tuple[int, ...], int], list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        head = heads[group.module]
        alike[head.features is not None, head.pool_layers, len(head.scorers[group.pattern].weight)].append(number)
    order = ran.places(groups[number] for numbers in alike.values() for number in numbers)
    return HeadsPlan(
        masks=tuple(_masks(heads, ran, arrays)),
        pools=tuple(_pools(heads, ran, arrays)),
        alike=tuple(
            _Alike(
                tuple(numbers),
                (reads_masks, bool(layers)),
                tuple(heads[groups[number].module].scorers[groups[number].pattern] for number in numbers),
                groups_of([_size(groups[number]) for number in numbers], arrays, grouped=grouped),
            )
            for (reads_masks, layers, _), numbers in alike.items()
        ),
        row_of=arrays.put(np.argsort(order)),
        labels=labels,
    )


def label_logits(plan: HeadsPlan, hidden: Hidden) -> Tensor:
    """Label logits of a pass by place, [N, labels]; minus infinity where a module has fewer labels."""
    masks_of = {number: part for masks in plan.masks for number, part in _at_masks(masks, hidden)}
    pools_of = {number: part for pools in plan.pools for number, part in _pooled(pools, hidden)}
    said: list[Tensor] = []
    for alike in plan.alike:
        parts = zip((masks_of, pools_of), alike.reads, strict=True)
        read = [torch.cat([found[number] for number in alike.numbers]) for found, is_read in parts if is_read]
        said.append(_widened(_scores(torch.cat(read, dim=1), alike), plan.labels, -torch.inf))
    return torch.cat(said).index_select(0, plan.row_of)


def _masks(heads: Mapping[int, LoadedHead], ran: Ran, arrays: Arrays) -> Iterable[_Masks]:
    by_features: dict[int, list[int]] = defaultdict(list)
    found: dict[int, Features] = {}
    for number, group in enumerate(ran.pack.groups):
        if (features := heads[group.module].features) is not None:
            by_features[id(features)].append(number)
            found[id(features)] = features
    for key, numbers in by_features.items():
        groups = [ran.pack.groups[number] for number in numbers]
        tokens = [
            ran.pack.starts[place] + position
            for place in ran.places(groups)
            for position in ran.text(place).mask_positions
        ]
        shapes = {
            number: (_size(group), heads[group.module].masks[group.pattern])
            for number, group in zip(numbers, groups, strict=True)
        }
        yield _Masks(found[key], arrays.put(ran.rows(tokens, ran.layers)), shapes)


def _pools(heads: Mapping[int, LoadedHead], ran: Ran, arrays: Arrays) -> Iterable[_Pools]:
    by_layers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, group in enumerate(ran.pack.groups):
        if heads[group.module].pool_layers:
            by_layers[heads[group.module].pool_layers].append(number)
    for layers, numbers in by_layers.items():
        groups = [ran.pack.groups[number] for number in numbers]
        places = ran.places(groups)
        positions = [ran.text(place).text_positions for place in places]
        tokens = [ran.pack.starts[p] + own for p, all_ in zip(places, positions, strict=True) for own in all_]
        rows = {layer: arrays.put(ran.rows(tokens, layer)) for layer in layers}
        text_of = np.repeat(np.arange(len(places)), [len(own) for own in positions])
        sizes = {number: _size(group) for number, group in zip(numbers, groups, strict=True)}
        yield _Pools(rows, arrays.put(text_of), sizes)


def _at_masks(masks: _Masks, hidden: Hidden) -> Iterable[tuple[int, Tensor]]:
    """G at the masks by group, [n, M * E]."""
    read = masks.features(hidden.at(masks.rows))  # [sum of n M, E]
    counts = [texts * each for texts, each in masks.shapes.values()]
    for (number, (texts, _)), part in zip(masks.shapes.items(), read.split(counts), strict=True):
        yield number, part.reshape(texts, -1)


def _pooled(pools: _Pools, hidden: Hidden) -> Iterable[tuple[int, Tensor]]:
    """Pools by group, [n, P * H]: sums over the texts' own tokens, scaled to length 1."""
    texts = sum(pools.sizes.values())
    sums = [
        torch.zeros(texts, hidden.last.shape[1], device=hidden.last.device).index_add_(
            0, pools.text_of, hidden.at(rows, layer)
        )
        for layer, rows in pools.rows.items()
    ]
    scaled = nn.functional.normalize(torch.stack(sums, dim=1), dim=-1).flatten(1)  # [N, P * H]
    return zip(pools.sizes, scaled.split(list(pools.sizes.values())), strict=True)


def _scores(read: Tensor, alike: _Alike) -> Tensor:
    """Scores of rows [N, F]; minus infinity beyond a scorer's labels."""
    most = max(len(scorer.bias) for scorer in alike.scorers)
    biases = torch.stack([_widened(scorer.bias, most, -torch.inf) for scorer in alike.scorers])
    weights = torch.stack([_widened(scorer.weight, most, 0.0) for scorer in alike.scorers])  # [K, F, L]
    return grouped_product(read, weights, alike.groups) + biases.index_select(0, alike.groups.row_of)


def _widened(values: Tensor, most: int, by: float) -> Tensor:
    """Values [..., L] up to so many labels."""
    more = most - values.shape[-1]
    return nn.functional.pad(values, (0, more), value=by) if more else values


def _size(group: Group) -> int:
    return group.last - group.first
