"""What can be chosen about an adaptation, with the defaults and where they come from."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from petapter_schemas.errors import InputError

Precision = Literal["float32", "bfloat16"]
"""What the matrix products compute in; weights, norms, losses and the optimiser are float32 either way."""

MAX_SEED = 2**63 - 1
"""Largest seed that torch and numpy both take."""

_DEFAULT_STEPS = 1000
_PIECE_TOKENS = 96
_LR_TIMES_WIDTH = 0.576
_HEAD_ONLY_LR_TIMES_WIDTH = 0.768
"""1.5e-3 and 2e-3 at width 384, with which the built-in `minilm` and its head alone were trained; wider models want
less, in the same proportion as in `petapter.training`."""

_KNOWN_HEAD_FACTOR = 0.1
"""A head that came with the checkpoint moves a tenth as fast: it is a full-rank part that already fits."""


@dataclass(frozen=True)
class AdaptationOptions:
    """Choices of one adaptation.

    Attributes:
        seed: Of initial weights, masks, order and the choice of pieces where there are too many.
        steps: Optimiser steps; None means 1000, or as many as the minutes allow.
        minutes: Wall-clock time to train for at most; such a run cannot be repeated exactly.
        rank: Of the LoRA adapter that is merged afterwards; 0 leaves the encoder as it is and trains the head alone.
        alpha: LoRA's scale is alpha / rank.
        piece_tokens: Tokens of a piece of text, special tokens included; None means 96, or what the backbone reads.
        batch_size: Pieces per step.
        lr: Peak learning rate; None means 0.576 / hidden size, and 0.768 / hidden size for the head alone. A masked-LM
            head that came with the checkpoint takes a tenth of it.
        warmup: Share of the run in which the learning rate rises; it then falls linearly to 0.
        masked: Share of the tokens to predict.
        clip_norm: Largest norm of the gradient.
        precision: Of the matrix products.
    """

    seed: int = 0
    steps: int | None = None
    minutes: float | None = None
    rank: int = 24
    alpha: float = 48.0
    piece_tokens: int | None = None
    batch_size: int = 32
    lr: float | None = None
    warmup: float = 0.05
    masked: float = 0.15
    clip_norm: float = 1.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"the seed must be between 0 and {MAX_SEED}")
        if self.rank < 0 or self.batch_size < 1 or (self.steps is not None and self.steps < 1):
            raise InputError("rank must be 0 or more; steps and batch size 1 or more")
        for name in ("minutes", "lr", "alpha", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be a number above 0, not {value}")
        if not (0 < self.masked < 1 and 0 <= self.warmup < 1):
            raise InputError("the masked share must lie between 0 and 1, the warm-up's share from 0 to below 1")

    def resolved(self, hidden_size: int, max_tokens: int) -> Self:
        """The same options with what is open decided for a backbone's width and longest sequence.

        Raises:
            InputError: The pieces are longer than the backbone reads.
        """
        if self.piece_tokens is not None and self.piece_tokens > max_tokens:
            raise InputError(
                f"the backbone reads {max_tokens} tokens, pieces have {self.piece_tokens}: cut them shorter"
            )
        by_width = (_LR_TIMES_WIDTH if self.rank else _HEAD_ONLY_LR_TIMES_WIDTH) / hidden_size
        return replace(
            self,
            steps=_DEFAULT_STEPS if self.steps is None and self.minutes is None else self.steps,
            piece_tokens=min(_PIECE_TOKENS, max_tokens) if self.piece_tokens is None else self.piece_tokens,
            lr=by_width if self.lr is None else self.lr,
        )

    def head_lr(self, *, is_known: bool) -> float:
        """Peak learning rate of the masked-LM head, which came with the checkpoint or is new."""
        return (self.lr or 0.0) * (_KNOWN_HEAD_FACTOR if is_known else 1.0)
