"""What can be chosen about a training run, with the defaults and where they come from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, Self

from torch import Tensor

from petapter.adapters import AdapterChoice
from petapter.head import HeadChoice, HeadInit
from petapter.training.order import RowOrder
from petapter_schemas.adapter_spec import AdapterKind
from petapter_schemas.errors import InputError

_LR_TIMES_WIDTH = 0.75
ADAPTER_LR: Mapping[AdapterKind, float] = {"ia3": 3e-3, "bitfit": 1e-3}
"""3e-3 is Liu et al.'s (2022, arXiv 2205.05638); 1e-3 is a choice that was not compared with others. What a scale or
a bias does to its layer does not depend on the width, so neither do these."""

_LEAST_STEPS, _MOST_STEPS = 80, 300
"""Chosen on training rows of SNIPS and Banking77 that no test set holds: on minilm 2e-3 is
better than 5e-4 on the one (0.936 against 0.882 at 120 steps) and not distinguishable from 1e-3 on the other (0.955
against 0.953 at 100 steps); more steps gained nothing. One sample and one seed."""


@dataclass(frozen=True)
class TrainingOptions:
    """Choices of one training run.

    Attributes:
        seed: Of initial weights, order of rows and dropout.
        adapter: What trains inside the backbone; None means LoRA of `rank` and `alpha`.
        rank: Rank of LoRA where no adapter is chosen; 0 trains the head alone.
        alpha: LoRA's scale is alpha / rank; PETapter uses 16 with rank 8.
        head_init: Start the head at the masked-LM head, or at random as in the paper, where no head is chosen; None
            means the masked-LM head, and at random, with a warning, on a backbone without one.
        head: Where the head starts, what of it trains, and its form; None means `head_init` and its usual parts.
        steps: Optimiser steps; None means 80 and one more per row, at most 300.
        batch_size: Rows per step.
        adapter_lr: Peak learning rate of the adapter; None means 3e-3 for (IA)^3, whose authors train so, 1e-3 for
            BitFit, and 0.75 / hidden size for the others, since narrow models want more.
        head_lr: Peak learning rate of the head; None means 0.75 / hidden size.
        warmup: Share of the steps in which the learning rates rise; they then fall linearly to 0.
        label_smoothing: Of the cross-entropy.
        clip_norm: Largest norm of the gradient.
        order: Rows of like length in a batch, or rows as they are shuffled.
        pad_to: Tokens to which every batch is padded at least; None pads to the longest row. The result is the same but
            for what dropout draws.
    """

    seed: int = 0
    rank: int = 8
    alpha: float = 16.0
    head_init: HeadInit | None = None
    steps: int | None = None
    batch_size: int = 16
    adapter_lr: float | None = None
    head_lr: float | None = None
    warmup: float = 0.1
    label_smoothing: float = 0.05
    clip_norm: float = 1.0
    order: RowOrder = "bucketed"
    pad_to: int | None = None
    adapter: AdapterChoice | None = None
    head: HeadChoice | None = None

    def __post_init__(self) -> None:
        if self.rank < 0 or self.batch_size < 1 or (self.steps is not None and self.steps < 1):
            raise InputError("rank must be 0 or more; steps and batch size 1 or more")
        if self.alpha <= 0:
            raise InputError("alpha must be more than 0")
        if self.adapter_choice.kind == "none" and not self.head_choice.parts:
            raise InputError("nothing would train: choose an adapter, or a head of which something trains")

    @property
    def adapter_choice(self) -> AdapterChoice:
        """What trains inside the backbone, however it was chosen."""
        if self.adapter is not None:
            return self.adapter
        return AdapterChoice(rank=self.rank, alpha=self.alpha) if self.rank else AdapterChoice(kind="none")

    @property
    def head_choice(self) -> HeadChoice:
        """Where the head starts and what of it trains, however it was chosen."""
        return self.head or HeadChoice(self.head_init or "mlm")

    def resolved(self, rows: int, hidden_size: int, *, has_mlm_head: bool = True) -> Self:
        """The same options with every None replaced by its value for a number of rows and a backbone.

        Args:
            rows: How many.
            hidden_size: The backbone's width.
            has_mlm_head: Whether the backbone has a masked-LM head.
        """
        lr = _LR_TIMES_WIDTH / hidden_size
        return replace(
            self,
            head_init=self.head_init or ("mlm" if has_mlm_head else "random"),
            steps=self.steps or min(_MOST_STEPS, _LEAST_STEPS + rows),
            adapter_lr=ADAPTER_LR.get(self.adapter_choice.kind, lr) if self.adapter_lr is None else self.adapter_lr,
            head_lr=lr if self.head_lr is None else self.head_lr,
        )

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """All choices but the seed and the steps, which the manifest records in fields of their own."""
        chosen = asdict(self)
        apart = {"seed", "steps", "adapter", "head"} | ({"rank", "alpha"} if self.adapter is not None else set())
        named = {key: value for key, value in chosen.items() if key not in apart and value is not None}
        head = self.head_choice
        named |= {"head_init": head.init} | ({"head_trains": head.trains} if head.init == "mlm" else {})
        return named | (self.adapter.hyperparameters() if self.adapter is not None else {})


@dataclass(frozen=True)
class StrongOptions:
    """Choices of preset `strong`.

    Attributes:
        seed: Of the delta's initial weights and of the order of rows, patterns and windows; the convex head has none.
        delta: Try a delta where there are enough rows, or never.
        least_rows: Rows below which no delta is tried.
        kind: What the delta is: LoRA on every linear map of the upper layers, or (IA)^3 or BitFit in them.
        steps: Optimiser steps of the delta; its trials, which see three quarters of the rows, take as many of these.
        batch_size: Rows per step.
        rank: Of the LoRA.
        adapter_lr: Peak learning rate of the delta; None means 3e-3 for (IA)^3, 1e-3 for BitFit, and 1.92 / hidden size
            for LoRA, 5e-3 on minilm.
        label_smoothing: Of the delta's cross-entropy.
        consistency: Weight of the divergence between what two patterns say of the same texts. Above 0, and with two
            patterns or more, each step reads its rows twice.
        contrast: Weight of the supervised contrastive loss of the texts as the last layer pools them, which brings
            texts of one label together, those of a step and all others.
        keep: Keep long texts as each pattern writes it, or in the way that leaving rows out prefers.
    """

    seed: int = 0
    delta: Literal["auto", "never"] = "auto"
    least_rows: int = 40
    kind: Literal["lora", "ia3", "bitfit"] = "lora"
    steps: int = 80
    batch_size: int = 8
    rank: int = 1
    adapter_lr: float | None = None
    label_smoothing: float = 0.05
    consistency: float = 0.0
    contrast: float = 1.0
    keep: Literal["as-written", "chosen"] = "as-written"

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """All choices but the seed, which the manifest records in a field of its own."""
        return {key: value for key, value in asdict(self).items() if key != "seed" and value is not None}

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.rank, self.least_rows) < 1:
            raise InputError("steps, batch size, rank and least rows must be 1 or more")
        if min(self.consistency, self.contrast) < 0:
            raise InputError("consistency and contrast must be 0 or more")


STARTED_FROM = "start_sha256"
"""Hyperparameter of a run that began at given weights: their digest. The weights themselves are in no manifest."""


@dataclass(frozen=True)
class Recipe:
    """What a run does, and what the manifest says about that.

    Attributes:
        preset: Name of the set of choices.
        options: The choices, none of them left open.
        hyperparameters: The choices in the preset's own terms.
        weights: By their own weights rows count, or, where the task states a class prior, so that each label counts as
            often as that says.
        start: What the adapter begins with, by the names peft saves tensors by; None for peft's own start.
    """

    preset: str
    options: TrainingOptions
    hyperparameters: Mapping[str, bool | int | float | str]
    weights: Literal["own", "class-prior"] = "own"
    start: Mapping[str, Tensor] | None = None
