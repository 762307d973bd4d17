"""`full-finetuning` and `standard-head`: the usual classifier on the first token, its encoder trained or frozen."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field
from torch import Tensor, nn

from petapter.adapters import AdapterChoice, AdapterSlots, Ia3Place, adapter_spec, peft_config
from petapter.backbone import Backbone
from petapter.benchmark.baselines.models import (
    ClassificationHead,
    first_token_classifier,
    optimise,
    reproducible,
    trainable_copy,
    trained_bytes,
)
from petapter.benchmark.baselines.options import Optimisation, parse_options
from petapter.benchmark.baselines.rows import class_positions, normalised
from petapter.benchmark.baselines.sequences import TokenRow, computed, padded, plain_rows
from petapter.benchmark.methods import Answer, Trial
from petapter.task.encoding import Fields
from petapter.training.objective import objective
from petapter_schemas.adapter_spec import AdapterKind

_SLOT: Final = "standard_head"


class FullFinetuningOptions(Optimisation):
    """Options of `full-finetuning`: those of the optimisation, with the defaults of its class.

    Rate and warm-up are those that Mosbach, Andriushchenko, Klakow (2020, arXiv 2006.04884) recommend for small data,
    with more epochs than their 20 and smaller batches.
    """


class StandardHeadOptions(Optimisation):
    """Options of `standard-head`; defaults are the PETapter paper's but for `bos`, which makes the comparison fair.

    Attributes:
        bos: Whether the text has its special tokens, so that the head reads the token that begins every text. With
            false it is the paper's own baseline, whose code leaves them out, so that its head reads the first token of
            the first word.
        adapter: Its kind; "none" trains the head alone. The paper has lora, ia3 and bottleneck.
        rank: Of LoRA.
        alpha: LoRA's scale is alpha / rank.
        reduction: A bottleneck has the backbone's width divided by this.
        up_std: Standard deviation of the weights of a bottleneck's second layer at the start.
        ia3_place: Where (IA)^3 scales the feed-forward block, see `petapter.adapters.AdapterChoice`.
    """

    lr: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: float = Field(default=0.0, ge=0, le=1)
    batch_size: int = Field(default=2, ge=1)
    bos: bool = True
    adapter: AdapterKind = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    reduction: int = Field(default=16, ge=1)
    up_std: float = Field(default=0.02, ge=0, le=1)
    ia3_place: Ia3Place = "before-activation"

    def choice(self) -> AdapterChoice:
        """The adapter; options of another kind count for nothing."""
        own: dict[str, Any] = {"rank": self.rank, "alpha": self.alpha, "reduction": self.reduction}
        if self.adapter == "bottleneck":
            own["up_std"] = self.up_std
        if self.adapter == "ia3":
            own["ia3_place"] = self.ia3_place
        return AdapterChoice(self.adapter, **own)


@dataclass(frozen=True)
class FullFinetuning:
    """A copy of the whole encoder is trained together with a new classification head."""

    options: FullFinetuningOptions

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        class_positions(trial)
        with reproducible(trial.backbone, trial.seed):
            encoder = trainable_copy(trial.backbone.model.base_model)
            head = _new_head(trial)
            return _fit_and_answer(trial, encoder, head, self.options, special_tokens=True)


@dataclass(frozen=True)
class StandardHead:
    """A new classification head with an adapter on the frozen encoder: what the PETapter paper compares with.

    Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975.
    """

    options: StandardHeadOptions

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        class_positions(trial)
        with reproducible(trial.backbone, trial.seed), _adapter(trial.backbone, self.options):
            encoder, head = trial.backbone.model.base_model, _new_head(trial)
            return _fit_and_answer(trial, encoder, head, self.options, special_tokens=self.options.bos)


def full_finetuning(**options: object) -> FullFinetuning:
    """`full-finetuning`, with the options of FullFinetuningOptions."""
    return FullFinetuning(parse_options(FullFinetuningOptions, options))


def standard_head(**options: object) -> StandardHead:
    """`standard-head`, with the options of StandardHeadOptions."""
    return StandardHead(parse_options(StandardHeadOptions, options))


def _new_head(trial: Trial) -> ClassificationHead:
    return ClassificationHead(trial.backbone.model.config, len(trial.task.labels)).to(trial.backbone.device)


def _fit_and_answer(
    trial: Trial, encoder: nn.Module, head: ClassificationHead, choices: Optimisation, *, special_tokens: bool
) -> Answer:
    """Train whatever asks for gradients, then answer; what is trained is what has to be stored."""
    started = time.perf_counter()
    backbone, classify = trial.backbone, first_token_classifier(encoder, head)

    def read(texts: Sequence[Fields]) -> list[TokenRow]:
        return plain_rows(backbone, texts, trial.task.fields, special_tokens=special_tokens)

    rows = read([row.fields for row in trial.train])
    loss = objective(trial.task, trial.train, 0.0, backbone.device)

    def loss_of(batch: list[int]) -> Tensor:
        return loss(classify(padded([rows[i] for i in batch], backbone)), batch)

    steps = optimise((encoder, head), loss_of, len(rows), choices, trial.seed)
    train_seconds = time.perf_counter() - started
    started = time.perf_counter()
    answers = normalised(computed(read(trial.test), backbone, classify))
    return Answer(
        log_probabilities=answers,
        train_seconds=train_seconds,
        predict_seconds=time.perf_counter() - started,
        module_bytes=trained_bytes(encoder, head),
        steps=steps,
        details={"batch_size": choices.batch_size, "lr": choices.lr},
    )


@contextmanager
def _adapter(backbone: Backbone, options: StandardHeadOptions) -> Iterator[None]:
    """An adapter in the resident model for a block; the model is bare again afterwards."""
    choice = options.choice()
    slots = AdapterSlots(backbone.model)
    try:
        spec = adapter_spec(choice, backbone.model)
        if spec.kind != "none":
            slots.add(_SLOT, peft_config(spec, up_std=choice.up_std))
        yield
    finally:
        slots.close()
        backbone.model.eval()
