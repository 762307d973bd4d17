r"""Merges what modules change, tensor by tensor; peft's building blocks, and where they are not taken as they are.

With shares w_k that add up to 1, and d_k what module k changes (from its neutral element):

    linear       sum over k of w_k d_k
    dare-linear  the same of d_k, of which each number is dropped with probability 1 - density, else divided by it
    ties         sum of w_k d_k / sum of w_k, over the k that keep a number and have the sign of sum over k of w_k d_k
    dare-ties    likewise, with numbers dropped as in dare-linear instead of all but the largest

peft 0.21's own `ties` and `dare_ties` divide by the number of modules that agree, whatever they weigh, and let all vote
alike on the sign: two equal modules of weight 1/2 each become half of one. With equal weights of 1 they are the
formula above. Its `linear`, `ties` and `dare_*` of LoRA merge A and B apart, each by the square root of the weight:
two equal modules of weight 1/2 become twice of one, and of unequal ones B_1 A_2 counts as much as B_1 A_1. So here
all methods merge products B A (petapter/merging/adapters.py), as peft's `cat` and its `*_svd` methods do.
"""

from collections.abc import Sequence

import torch
from peft.utils.merge_utils import calculate_majority_sign_mask, prune, task_arithmetic
from torch import Tensor

from petapter.merging.recipe import Recipe


def merged_changes(changes: Sequence[Tensor], weights: Sequence[float], recipe: Recipe) -> Tensor:
    """Merge one tensor of each module; all of one shape and dtype.

    Random draws come from torch's own generator: one for each module, in their order.

    Args:
        changes: What each module changes, 0 where nothing.
        weights: Shares, adding up to 1; modules of share 0 have no say.
        recipe: Its weights are not read.
    """
    shares = torch.tensor(weights, dtype=changes[0].dtype)
    kept = list(changes) if recipe.method == "linear" else [_kept(change, recipe) for change in changes]
    return _agreed(kept, shares) if recipe.elects_signs else _sum(kept, shares)


def _kept(change: Tensor, recipe: Recipe) -> Tensor:
    if recipe.density == 1:  # peft warns that it does nothing
        return change
    found: Tensor = prune(change, recipe.density, "random" if recipe.draws else "magnitude", rescale=recipe.draws)
    return found


def _sum(changes: Sequence[Tensor], shares: Tensor) -> Tensor:
    total: Tensor = task_arithmetic(list(changes), shares)
    return total


def _agreed(changes: Sequence[Tensor], shares: Tensor) -> Tensor:
    weights = shares.view(-1, *([1] * changes[0].dim()))
    weighted = torch.stack(list(changes)) * weights
    agrees: Tensor = calculate_majority_sign_mask(weighted, method="total")
    total = (weighted * agrees).sum(dim=0)
    agreeing = (weights * agrees).sum(dim=0)
    return torch.where(agreeing > 0, total / agreeing, 0.0)
