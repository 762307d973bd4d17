"""The training loop: a LoRA adapter around a frozen encoder together with its masked-LM head.

LoRA: Hu et al. 2021, arXiv 2106.09685. The word embeddings never train, so that label words keep their meaning in the
head. There is no dropout: a step sees pieces that no step saw before, unless the texts are few.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig
from torch import Tensor, nn
from torch.optim import AdamW

from petapter.adaptation.masked_lm import head_parameters, live_head, masked_loss, start_head
from petapter.adaptation.masking import Masking
from petapter.adaptation.options import AdaptationOptions
from petapter.adaptation.pieces import Pieces
from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.minilm import merged_weight
from petapter.mlm_head import MlmHead
from petapter_schemas.adapter_files import PEFT_PREFIX
from petapter_schemas.errors import BackboneError, InputError

_SLOT = "adaptation"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_POOLER = "pooler"
_SECONDS_PER_MINUTE = 60.0
_LAST_LOSSES = 100
_FEW_PIECES, _MOST_ROUNDS = 256, 8
"""Few held-out pieces are measured with several masks each, which are the same before and after."""

OnProgress = Callable[[float, float], None]
"""Called after each step with the share of the run that is done and the loss of the step."""


@dataclass(frozen=True)
class HeldOutLoss:
    """Masked-LM loss on documents that training did not see, under the same masks before and after.

    Attributes:
        pieces: How many.
        predictions: Hidden tokens of them.
        before: Mean cross-entropy in nats at the start; of a new head this is little more than word frequencies.
        after: At the end.
    """

    pieces: int
    predictions: int
    before: float
    after: float


@dataclass(frozen=True)
class Learned:
    """What came out.

    Attributes:
        factors: LoRA's, under the names peft saves them by; empty where the head trained alone.
        head: The masked-LM head, by its names in the model; the model itself has these values too.
        steps: Done.
        seconds: Of the steps.
        last_loss: Mean training loss of the last steps, at most 100.
        held_out: How much it helped.
    """

    factors: Mapping[str, Tensor]
    head: Mapping[str, Tensor]
    steps: int
    seconds: float
    last_loss: float
    held_out: HeldOutLoss


def learn(
    backbone: Backbone, pieces: Pieces, options: AdaptationOptions, on_progress: OnProgress | None = None
) -> Learned:
    """Train; the backbone's encoder is bare and as before afterwards, its head is the trained one.

    Args:
        backbone: Loaded for this and used by nobody else.
        pieces: Of the texts, cut for this tokenizer.
        options: None of them open.
        on_progress: Told after each step.

    Raises:
        InputError: Training diverged.
        BackboneError: The architecture's masked-LM head is not known.
    """
    head = live_head(backbone.model)
    if not backbone.has_mlm_head:
        start_head(backbone.model, head, pieces.token_counts, options.seed)
    slots = AdapterSlots(backbone.model)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(options.seed)
        try:
            if options.rank:
                slots.add(_SLOT, lora_everywhere(backbone, options))
            run = _Run(backbone, head, pieces, options)
            before, predictions = run.measure()
            steps, seconds, last_loss = run.train(on_progress)
            after, _ = run.measure()
            factors = slots.read(_SLOT) if options.rank else {}
        finally:
            slots.close()
    trained = head_parameters(backbone.model, head)
    tensors = {name: value.detach().cpu().clone() for name, value in trained.items()}
    held_out = HeldOutLoss(len(pieces.held_out), predictions, before, after)
    return Learned(factors, tensors, steps, seconds, last_loss, held_out)


def lora_everywhere(backbone: Backbone, options: AdaptationOptions) -> LoraConfig:
    """LoRA on every linear map of the encoder but the pooler, which a masked LM does not have."""
    prefix = f"{backbone.model.base_model_prefix}."
    targets = [
        name
        for name, module in backbone.model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(prefix) and _POOLER not in name.split(".")
    ]
    if not targets:
        raise BackboneError(f"the encoder of {backbone.repo!r} has no linear layers: choose --head-only")
    return LoraConfig(r=options.rank, lora_alpha=cast("int", options.alpha), target_modules=targets, bias="none")


def merge(backbone: Backbone, factors: Mapping[str, Tensor], scale: float) -> None:
    """Add LoRA's products to the encoder's weights in place, in steps that every machine rounds alike."""
    for name, down in factors.items():
        if not name.endswith(_DOWN):
            continue
        layer = name.removeprefix(PEFT_PREFIX).removesuffix(_DOWN)
        up = factors[name.removesuffix(_DOWN) + _UP]
        weight = cast("Tensor", backbone.model.get_submodule(layer).weight)
        with torch.no_grad():
            weight.copy_(merged_weight(weight.detach().cpu(), down, up, scale))


class _Run:
    """One training run with its masks; the adapter is in the model while it lasts."""

    def __init__(self, backbone: Backbone, head: MlmHead, pieces: Pieces, options: AdaptationOptions) -> None:
        self._backbone = backbone
        self._head = head
        self._pieces = pieces
        self._options = options
        self._masking = Masking.of(backbone, options.masked)
        adapter = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
        own = list(head_parameters(backbone.model, head).values())
        for parameter in own:
            parameter.requires_grad_(True)  # noqa: FBT003 (torch's signature)
        self._trained = [*adapter, *own]
        groups = [
            {"params": adapter, "lr": options.lr or 0.0},
            {"params": own, "lr": options.head_lr(is_known=backbone.has_mlm_head)},
        ]
        self._optimizer = AdamW([group for group in groups if group["params"]], weight_decay=0.0)
        self._peaks = [float(group["lr"]) for group in self._optimizer.param_groups]

    def train(self, on_progress: OnProgress | None) -> tuple[int, float, float]:
        """Step until the steps or the minutes are over; returns steps, seconds and the mean of the last losses."""
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(self._options.seed)
        losses: list[float] = []
        for step, rows in enumerate(_rows(len(self._pieces.training), self._options.batch_size, generator)):
            share = self._share(step, time.perf_counter() - started)
            if share >= 1:
                break
            self._set_rates(share)
            loss = self._step(self._pieces.training[rows], generator)
            losses = [*losses[1 - _LAST_LOSSES :], loss]
            if on_progress is not None:
                on_progress(self._share(step + 1, time.perf_counter() - started), loss)
        return step, time.perf_counter() - started, float(np.mean(losses))

    @torch.no_grad()
    def measure(self) -> tuple[float, int]:
        """Mean loss on the held-out pieces, and of how many predictions; the same masks in every call."""
        held_out = self._pieces.held_out
        generator = torch.Generator().manual_seed(self._options.seed)
        rounds = min(_MOST_ROUNDS, math.ceil(_FEW_PIECES / len(held_out)))
        total, predictions = 0.0, 0
        for start in range(0, rounds * len(held_out), self._options.batch_size):
            stop = min(start + self._options.batch_size, rounds * len(held_out))
            batch = self._masking.hide(held_out[np.arange(start, stop) % len(held_out)], generator)
            with self._autocast():
                loss = masked_loss(self._backbone, self._head, batch)
            total += float(loss) * len(batch.targets)
            predictions += len(batch.targets)
        return total / predictions, predictions

    def _share(self, step: int, seconds: float) -> float:
        """How much of the run is over, by whichever bound is nearer."""
        by_steps = step / self._options.steps if self._options.steps else 0.0
        by_time = seconds / (self._options.minutes * _SECONDS_PER_MINUTE) if self._options.minutes and step else 0.0
        return min(1.0, max(by_steps, by_time))

    def _set_rates(self, share: float) -> None:
        """Linearly up over the warm-up, then linearly down to 0; by time where there is a limit of time."""
        warmup, first = self._options.warmup, 1 / (self._options.steps or math.inf)
        rising = min(1.0, (share + first) / warmup) if warmup else 1.0
        factor = min(max(rising, 0.01), (1 - share) / (1 - warmup))
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def _step(self, pieces: NDArray[np.int32], generator: torch.Generator) -> float:
        batch = self._masking.hide(pieces, generator)
        with self._autocast():
            loss = masked_loss(self._backbone, self._head, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError("training diverged, the loss is no number: choose a lower learning rate")
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, self._options.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return value

    def _autocast(self) -> torch.autocast:
        enabled = self._options.precision == "bfloat16"
        return torch.autocast(self._backbone.device.type, dtype=torch.bfloat16, enabled=enabled)


def _rows(count: int, batch_size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows of one step after the other, every row once per pass, in a new order each time, without end."""
    while True:
        order = torch.randperm(count, generator=generator).numpy()
        for start in range(0, count, batch_size):
            yield order[start : start + batch_size]
