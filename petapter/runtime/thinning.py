"""Dropout in packed passes: every module's numbers come from a generator of its own.

Drawn from one generator for all tokens of a pass, what a module drops would depend on what stands beside it. Here each
module draws for its own tokens alone and in its own order, so that in a pass of many it drops what it drops by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

_PER_WORD = 4
_VALUES = 1 << 16
"""Of 16 bits, four of which are in a word of the generator."""


@dataclass(frozen=True)
class Thinning:
    """Who draws for which tokens.

    Attributes:
        generators: By module, in the order of the pass.
        texts: By module, how many texts it has there; all of a module stand together.
        lengths: By text, its tokens that pass.
    """

    generators: tuple[torch.Generator, ...]
    texts: tuple[int, ...]
    lengths: tuple[int, ...]

    def hidden(self, states: Tensor, rate: float) -> Tensor:
        """States [..., F] of all tokens with a share of their numbers dropped, the others that much larger."""
        counts = self._numbers(states)
        drawn = [_kept(count, rate, generator) for generator, count in zip(self.generators, counts, strict=True)]
        keep = torch.cat(drawn) if len(drawn) > 1 else drawn[0]
        return states * _larger(keep, rate, states).view(states.shape)

    def attention(self, heads: int, looked_at: Sequence[int], rate: float, like: Tensor) -> list[Tensor]:
        """By text, what to multiply its attention by, [heads, R, S]: 0 or that much more than 1.

        Args:
            heads: Attention heads.
            looked_at: By text, the tokens that its R tokens look at, S.
            rate: The share to drop.
            like: Of whose precision and device it is to be.
        """
        shapes = [(heads, own, seen) for own, seen in zip(self.lengths, looked_at, strict=True)]
        sizes = [h * own * seen for h, own, seen in shapes]
        drawn: list[Tensor] = []
        for generator, own in zip(self.generators, self._by_module(sizes), strict=True):
            drawn += _larger(_kept(sum(own), rate, generator), rate, like).split(own)
        return [numbers.view(shape) for numbers, shape in zip(drawn, shapes, strict=True)]

    def _numbers(self, states: Tensor) -> list[int]:
        """How many numbers of the states belong to each module."""
        if len(self.generators) == 1:
            return [states.numel()]
        return [sum(own) * states.shape[-1] for own in self._by_module(self.lengths)]

    def _by_module(self, numbers: Sequence[int]) -> list[list[int]]:
        """Numbers by text as those of each module."""
        ends = accumulate(self.texts, initial=0)
        return [list(numbers[first:last]) for first, last in pairwise(ends)]


def _kept(count: int, rate: float, generator: torch.Generator) -> Tensor:
    """Which of so many numbers stay, bool [count].

    Each takes 16 of the generator's bits, so that the rate is met to 1 in 65,536. On a CPU torch's `bernoulli_` takes
    four times as long.
    """
    words = torch.empty(-(-count // _PER_WORD), dtype=torch.int64, device=generator.device)
    words.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    return words.view(torch.int16)[:count] >= round(rate * _VALUES) - _VALUES // 2


def _larger(keep: Tensor, rate: float, like: Tensor) -> Tensor:
    """0, or what numbers that stay are multiplied by so that their mean does."""
    return keep.to(like.dtype).mul_(1 / (1 - round(rate * _VALUES) / _VALUES))


@dataclass(frozen=True)
class Dropped:
    """Dropout of the attention of a pass.

    Attributes:
        thinning: Of the tokens that look.
        looked_at: By text, how many tokens they look at.
        rate: The share to drop.
    """

    thinning: Thinning
    looked_at: tuple[int, ...]
    rate: float

    def draw(self, heads: int, like: Tensor) -> list[Tensor]:
        """As `Thinning.attention`."""
        return self.thinning.attention(heads, self.looked_at, self.rate, like)
