"""Heads in the form in which many run at once: how each reads masks and pools, and what it makes of them.

A head's score is linear in what it reads: with label-word rows r, a label map A, words w and M masks,

    s = w sum over j of W_j g(h_j) + A (mean over j of g(h_j), pools) + c  =  V (g(h_1), ..., g(h_M), pools) + d

so that per pattern one matrix V [L, F] and one vector d [L] hold all of it, F = M E + P H. They are made in float64
when a module is loaded. Heads whose dense layer and norm are the backbone's own share one copy of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from petapter.head import PetHead
from petapter.task import EncodedText


@dataclass(frozen=True)
class Features:
    """How hidden states at masks become g: the modules of a head that do so, without the rest of it."""

    dense: nn.Linear
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
