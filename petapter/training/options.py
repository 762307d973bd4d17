"""What can be chosen about a training run, with the defaults and where they come from."""

from dataclasses import asdict, dataclass, replace
from typing import Self

from petapter.head import HeadInit
from petapter_schemas.errors import InputError

_LR_TIMES_WIDTH = 0.75
_LEAST_STEPS, _MOST_STEPS = 80, 300
"""Chosen on training rows of SNIPS and Banking77 that no test set holds: on minilm 2e-3 is
better than 5e-4 on the one (0.936 against 0.882 at 120 steps) and not distinguishable from 1e-3 on the other (0.955
against 0.953 at 100 steps); more steps gained nothing. One sample and one seed."""


@dataclass(frozen=True)
class TrainingOptions:
    """Choices of one training run.

    Attributes:
        seed: Of initial weights, order of rows and dropout.
        rank: Rank of LoRA; 0 trains the head alone.
        alpha: LoRA's scale is alpha / rank; PETapter uses 16 with rank 8.
        head_init: Start the head at the masked-LM head, or at random as in the paper.
        steps: Optimiser steps; None means 80 and one more per row, at most 300.
        batch_size: Rows per step.
        adapter_lr: Peak learning rate of the adapter; None means 0.75 / hidden size, since narrow models want more.
        head_lr: Peak learning rate of the head; None likewise.
        warmup: Share of the steps in which the learning rates rise; they then fall linearly to 0.
        label_smoothing: Of the cross-entropy.
        clip_norm: Largest norm of the gradient.
    """

    seed: int = 0
    rank: int = 8
    alpha: float = 16.0
    head_init: HeadInit = "mlm"
    steps: int | None = None
    batch_size: int = 16
    adapter_lr: float | None = None
    head_lr: float | None = None
    warmup: float = 0.1
    label_smoothing: float = 0.05
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.rank < 0 or self.batch_size < 1 or (self.steps is not None and self.steps < 1):
            raise InputError("rank must be 0 or more; steps and batch size 1 or more")
        if self.alpha <= 0:
            raise InputError("alpha must be more than 0")

    def resolved(self, rows: int, hidden_size: int) -> Self:
        """The same options with every None replaced by its value for a number of rows and a backbone's width."""
        lr = _LR_TIMES_WIDTH / hidden_size
        return replace(
            self,
            steps=self.steps or min(_MOST_STEPS, _LEAST_STEPS + rows),
            adapter_lr=lr if self.adapter_lr is None else self.adapter_lr,
            head_lr=lr if self.head_lr is None else self.head_lr,
        )

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """All choices but the seed and the steps, which the manifest records in fields of their own."""
        chosen = asdict(self)
        return {key: value for key, value in chosen.items() if key not in {"seed", "steps"} and value is not None}
