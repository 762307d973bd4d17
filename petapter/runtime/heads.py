"""The heads of many modules at once: g of all masks, then one grouped product for all rows of scores.

A head's score is linear in what it reads: with label-word rows r, a label map A, words w and M masks,

    s = w sum over j of W_j g(h_j) + A (mean over j of g(h_j), pools) + c  =  V (g(h_1), ..., g(h_M), pools) + d

so that per pattern one matrix V [L, F] and one vector d [L] hold all of it, F = M E + P H. They are made in float64
when a module is loaded. Heads whose dense layer and norm are the backbone's own share one copy of them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from petapter.head import PetHead
from petapter.runtime.packed import Hidden
from petapter.runtime.plan import Pack
from petapter.runtime.products import ends_of, grouped_product
from petapter.task import EncodedText


@dataclass(frozen=True)
class Features:
    """How hidden states at masks become g: the modules of a head that do so, without the rest of it."""

    dense: nn.Module
    activation: nn.Module
    norm: nn.Module

    def __call__(self, at_masks: Tensor) -> Tensor:
        """G of hidden states [N, H], [N, E]."""
        features: Tensor = self.norm(self.activation(self.dense(at_masks)))
        return features

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(weight.nbytes for part in (self.dense, self.norm) for weight in part.parameters())


@dataclass(frozen=True)
class Scorer:
    """What a head says in one pattern.

    Attributes:
        weight: V transposed, [F, L].
        bias: d, [L].
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class LoadedHead:
    """A head in the form in which many are run at once.

    Attributes:
        features: How it reads masks; None if it reads none.
        pool_layers: Hidden states it pools, in order.
        masks: Masks by pattern.
        scorers: By pattern.
    """

    features: Features | None
    pool_layers: tuple[int, ...]
    masks: tuple[int, ...]
    scorers: tuple[Scorer, ...]

    def nbytes(self, shared: Features | None) -> int:
        """Bytes of its own weights: not those of the dense layer and norm that it shares."""
        own = 0 if self.features is None or self.features is shared else self.features.nbytes
        return own + sum(scorer.weight.nbytes + scorer.bias.nbytes for scorer in self.scorers)

    def reads(self, encoded: EncodedText, last: int) -> list[int]:
        """Which tokens of a text it reads in the last layer, which has this number."""
        masks = encoded.mask_positions if self.features is not None else ()
        return [*masks, *(encoded.text_positions if last in self.pool_layers else ())]


def load_head(head: PetHead, masks: Sequence[int], shared: Features | None) -> LoadedHead:
    """Bring a head into that form.

    Args:
        head: On the device where it is to run.
        masks: Masks by pattern.
        shared: Dense layer and norm of the backbone's own masked-LM head, if the head's are these.
    """
    features = (shared or features_of(head)) if head.shape.reads_masks else None
    scorers = tuple(_scorer(head, pattern, count) for pattern, count in enumerate(masks))
    return LoadedHead(features, tuple(head.shape.pool_layers), tuple(masks), scorers)


def features_of(head: PetHead) -> Features:
    """How a head that reads masks does so."""
    return Features(head.dense, head.activation, head.norm)


def _scorer(head: PetHead, pattern: int, masks: int) -> Scorer:
    labels = head.labels
    wide = head.shape.feature_size
    device = head.rows.weight.device if head.has_rows else head.label_weight.device
    at_masks = torch.zeros(labels, masks if head.shape.reads_masks else 0, wide, dtype=torch.float64, device=device)
    bias = torch.zeros(labels, dtype=torch.float64, device=device)
    if head.has_rows and head.shape.words:
        words = head.word_map(masks, device).double()  # [L, M, T]
        at_masks += head.shape.words * torch.einsum("lmt,te->lme", words, head.rows.weight.double())
        bias += head.shape.words * torch.einsum("lmt,t->l", words, head.rows.bias.double())
    pools = at_masks.new_zeros(labels, 0)
    if head.shape.has_labels:
        maps = head.label_weight.double()  # [L, F]
        if head.shape.reads != "mean-pool":
            at_masks += (maps[:, :wide] / masks).unsqueeze(1)
            maps = maps[:, wide:]
        pools = maps
        bias += head.label_bias[pattern].double()
    weight = torch.cat([at_masks.flatten(1), pools], dim=1)  # [L, F]
    return Scorer(weight.T.float().contiguous(), bias.float())


def label_logits(
    heads: Mapping[int, LoadedHead], pack: Pack, encoded: Sequence[EncodedText], hidden: Hidden, labels: int
) -> Tensor:
    """Label logits of a pass by place, [N, labels]; minus infinity where a module has fewer labels.

    Args:
        heads: By module number.
        pack: What ran.
        encoded: All encodings that were planned.
        hidden: What came of it.
        labels: Of the module with the most.
    """
    logits = torch.full((len(pack.order), labels), -torch.inf, device=hidden.last.device)
    g_of = _features(heads, pack, encoded, hidden)
    pools_of = _pools(heads, pack, encoded, hidden)
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, group in enumerate(pack.groups):
        head = heads[group.module]
        alike[head.features is None, head.pool_layers, len(head.scorers[group.pattern].weight)].append(number)
    for numbers in alike.values():
        groups = [pack.groups[number] for number in numbers]
        head = heads[groups[0].module]
        places = [place for group in groups for place in range(group.first, group.last)]
        blocks = [g_of[number] for number in numbers] if head.features is not None else []
        read = [torch.cat(blocks)] if blocks else []
        if head.pool_layers:
            read.append(torch.cat([pools_of[number] for number in numbers]))
        scorers = [heads[group.module].scorers[group.pattern] for group in groups]
        counts = [group.last - group.first for group in groups]
        said = _scores(torch.cat(read, dim=1), scorers, counts)
        logits[torch.tensor(places, device=logits.device), : said.shape[1]] = said
    return logits


def _scores(read: Tensor, scorers: Sequence[Scorer], counts: Sequence[int]) -> Tensor:
    """Scores of rows [N, F], so many per scorer; minus infinity beyond a scorer's labels."""
    most = max(len(scorer.bias) for scorer in scorers)
    biases = torch.stack([_widened(s.bias, most, -torch.inf) for s in scorers])
    repeats = torch.tensor(counts)
    by_row = biases.index_select(0, torch.repeat_interleave(torch.arange(len(counts)), repeats).to(read.device))
    weights = torch.stack([_widened(s.weight, most, 0.0) for s in scorers])  # [K, F, L]
    return grouped_product(read, weights, ends_of(repeats).to(read.device)) + by_row


def _widened(values: Tensor, most: int, by: float) -> Tensor:
    """Values [..., L] up to so many labels."""
    more = most - values.shape[-1]
    return nn.functional.pad(values, (0, more), value=by) if more else values


def _features(
    heads: Mapping[int, LoadedHead], pack: Pack, encoded: Sequence[EncodedText], hidden: Hidden
) -> dict[int, Tensor]:
    """G at the masks, by group, [n, M * E]; of groups that share how they read, at once."""
    alike: dict[int, list[int]] = defaultdict(list)
    for number, group in enumerate(pack.groups):
        if heads[group.module].features is not None:
            alike[id(heads[group.module].features)].append(number)
    found: dict[int, Tensor] = {}
    for numbers in alike.values():
        groups = [pack.groups[number] for number in numbers]
        features = heads[groups[0].module].features
        tokens = [
            pack.starts[place] + position
            for group in groups
            for place in range(group.first, group.last)
            for position in encoded[pack.order[place]].mask_positions
        ]
        if features is None:  # not of these groups
            continue
        read = features(hidden.at(tokens))  # [sum of n M, E]
        counts = [(group.last - group.first) * heads[group.module].masks[group.pattern] for group in groups]
        for number, group, part in zip(numbers, groups, read.split(counts), strict=True):
            found[number] = part.reshape(group.last - group.first, -1)
    return found


def _pools(
    heads: Mapping[int, LoadedHead], pack: Pack, encoded: Sequence[EncodedText], hidden: Hidden
) -> dict[int, Tensor]:
    """Pools by group that reads any, [n, P * H]: sums over the texts' own tokens, scaled to length 1."""
    found: dict[int, Tensor] = {}
    wanted: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, group in enumerate(pack.groups):
        if heads[group.module].pool_layers:
            wanted[heads[group.module].pool_layers].append(number)
    for layers, numbers in wanted.items():
        groups = [pack.groups[number] for number in numbers]
        places = [place for group in groups for place in range(group.first, group.last)]
        tokens: list[int] = []
        rows: list[int] = []
        for row, place in enumerate(places):
            positions = encoded[pack.order[place]].text_positions
            tokens += [pack.starts[place] + position for position in positions]
            rows += [row] * len(positions)
        row_of = torch.tensor(rows, device=hidden.last.device, dtype=torch.int64)
        sums = [
            torch.zeros(len(places), hidden.last.shape[1], device=row_of.device).index_add_(
                0, row_of, hidden.at(tokens, layer)
            )
            for layer in layers
        ]
        pools = nn.functional.normalize(torch.stack(sums, dim=1), dim=-1).flatten(1)  # [N, P * H]
        counts = [group.last - group.first for group in groups]
        found |= dict(zip(numbers, pools.split(counts), strict=True))
    return found
