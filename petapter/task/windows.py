"""What becomes of long texts: how much of them is read, and how the scores of a text's windows become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from petapter.task.encoding import Windows


@dataclass(frozen=True)
class Seen:
    """How much of a set of texts the backbone reads under one pattern.

    Attributes:
        shares: By text, the share of its tokens that stand in at least one encoding; 1 for a text without tokens.
        tokens: Tokens of all texts.
        lost_tokens: How many of them are read nowhere.
    """

    shares: tuple[float, ...]
    tokens: int
    lost_tokens: int

    @property
    def share(self) -> float:
        """Share of all tokens that is read."""
        return 1 - self.lost_tokens / self.tokens if self.tokens else 1.0

    @property
    def cut_texts(self) -> int:
        """Texts that lose tokens."""
        return sum(share < 1 for share in self.shares)


def seen_share(windows: Windows) -> Seen:
    """Measure how much of some texts their encodings hold."""
    shares = tuple(
        1 - lost / tokens if tokens else 1.0
        for lost, tokens in zip(windows.lost_tokens, windows.text_tokens, strict=True)
    )
    return Seen(shares, sum(windows.text_tokens), sum(windows.lost_tokens))


def pool_windows(scores: Tensor, owner: Sequence[int], pool: Literal["mean", "max"]) -> Tensor:
    """One row of scores per text from one per window.

    Args:
        scores: [W, L], log-probabilities or logits of the windows.
        owner: By window, the index of its text; ascending, and every text has at least one.
        pool: Their mean, or by label the highest.

    Returns:
        [N, L] on the device of `scores`; a text of one window keeps its scores to the bit.
    """
    texts = owner[-1] + 1 if owner else 0
    index = torch.tensor(owner, device=scores.device, dtype=torch.int64)[:, None].expand_as(scores)
    empty = scores.new_zeros(texts, scores.shape[1])
    reduce: Literal["mean", "amax"] = "mean" if pool == "mean" else "amax"
    return empty.scatter_reduce(0, index, scores, reduce, include_self=False)
