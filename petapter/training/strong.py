"""Preset `strong`: label words without their prior, a convex head on frozen features, and a small delta where it pays.

1. The frozen backbone reads every text once: scores of the label words, features at the mask, pools of the text.
2. The convex head (petapter/training/convex.py) weighs them by leaving rows out. It has no seed and is the floor.
3. With enough rows a small LoRA in the upper layers and the label map go on from a convex head, for a fixed number of
   steps. Trial runs without a quarter of the rows say which head to start from, and whether it pays at all: only what
   beats on these rows the convex head of the other rows ships.
4. The left-out scores say how sure the module may be: a temperature and, with enough rows, a bias per label.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from petapter.adapters import AdapterChoice, AdapterSlots, adapter_spec, config_values, peft_config
from petapter.adapters.architectures import places
from petapter.backbone import Backbone
from petapter.evaluation import fit_calibration, fit_thresholds
from petapter.golden import probe_texts, record_golden
from petapter.head import HeadInit, PetHead, head_spec, part_parameters
from petapter.scoring import score
from petapter.task import Example, Verbalizer, Windows, encode_rows, read_verbalizer
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.convex import PENALTIES, ConvexHead, Evidence, fit_convex_head, loss_of, stratified_folds
from petapter.training.delta import DeltaOptions, DeltaTask, LabelMap, delta_logits, train_delta
from petapter.training.evidence import evidence_of, label_head, read_frozen, row_weights, targets_of, words_prior
from petapter.training.objective import Loss, objective
from petapter.training.record import Outcome, peak_memory_bytes, training_spec
from petapter.training.trainer import OnStep, checked_rows
from petapter.training.trunk import CachedText, Trunk, upper_layers
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.manifest import CalibrationSpec, HeadPart
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

_SLOT = "trained_here"
_NO_ADAPTER = AdapterSpec(kind="none", parameters=0)
_HELD_OUT_SHARE = 4
"""One row in four is kept from the trial run."""
_ADAPTER_LR_TIMES_WIDTH = 1.92
_HEAD_LR = 2e-3
_STARTS: Mapping[str, Sequence[float]] = {"fitted": PENALTIES, "stiff": (3.0,)}
"""Penalties of the heads that a delta may start from. One that fits its rows leaves little gradient for the layers
below, a stiff one has further to go, and neither is best everywhere: on rows that no test set holds (minilm, 100 rows,
two samples) the delta reached 0.72 from the fitted and 0.81 from the stiff head on TREC-6, 0.95 and 0.92 on SNIPS."""
_LEAST_EXAMPLES, _MOST_EXAMPLES = 2, 2000
"""The convex head is solved in the span of the rows: beyond a few thousand that costs more than it brings."""


@dataclass(frozen=True)
class StrongOptions:
    """Choices of preset `strong`.

    Attributes:
        seed: Of the delta's initial weights, order and dropout; the convex head has none.
        delta: Try a delta where there are enough rows, or never.
        least_rows: Rows below which no delta is tried.
        steps: Optimiser steps of the delta, and of each of its two trials.
        batch_size: Rows per step.
        rank: Of the LoRA.
        adapter_lr: Its peak learning rate; None means 1.92 / hidden size, 5e-3 on minilm.
        label_smoothing: Of the delta's cross-entropy.
    """

    seed: int = 0
    delta: Literal["auto", "never"] = "auto"
    least_rows: int = 40
    steps: int = 80
    batch_size: int = 8
    rank: int = 1
    adapter_lr: float | None = None
    label_smoothing: float = 0.05

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """All choices but the seed, which the manifest records in a field of its own."""
        return {key: value for key, value in asdict(self).items() if key != "seed" and value is not None}

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.rank, self.least_rows) < 1:
            raise InputError("steps, batch size, rank and least rows must be 1 or more")


@dataclass(frozen=True)
class _Start:
    """The rows as the frozen backbone reads them."""

    task: TaskSpec
    examples: Sequence[Example]
    backbone: Backbone
    verbalizer: Verbalizer
    encoded: Sequence[Windows]
    prior: Tensor  # [P, L]
    evidence: Evidence


def train_strong(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: StrongOptions | None = None,
    *,
    unlabelled: Sequence[Fields] = (),
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module with the preset `strong`.

    Args:
        task: Several patterns are averaged; the label words of each label count if leaving rows out says so.
        examples: Labelled rows, two or more.
        backbone: Without a masked-LM head the label words are not used.
        options: Defaults that were chosen on rows that no test set holds.
        unlabelled: Texts of the same kind without labels; they make the words' prior surer.
        on_step: Called after each step of the delta with the step, the number of steps and the loss.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged.
        BackboneError: An engine has the backbone.
    """
    options = options or StrongOptions()
    began = time.perf_counter()
    slots = AdapterSlots(backbone.model)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            torch.manual_seed(options.seed)
            start, head = _start(task, examples, backbone, unlabelled)
            run = _Run(start, head, slots, options)
            convex = fit_convex_head(start.evidence)
            _write(head, convex, start.prior)
            found = _Found(_NO_ADAPTER, {}, convex.out_of_fold, tuple(range(len(examples))), 0, "convex")
            if options.delta == "auto" and len(examples) >= options.least_rows:
                found = _with_delta(run, convex, on_step) or found
            return _collect(run, convex, found, time.perf_counter() - began)
        finally:
            slots.close()
            backbone.model.eval()


@dataclass(frozen=True)
class _Run:
    """The parts of one run."""

    start: _Start
    head: PetHead
    slots: AdapterSlots
    options: StrongOptions


@dataclass(frozen=True)
class _Found:
    """What is to be shipped: an adapter, and left-out logits [N', L] of some rows; the head is written already."""

    adapter: AdapterSpec
    tensors: dict[str, Tensor]
    left_out: Tensor
    rows: tuple[int, ...]
    steps: int
    shipped: str


def _start(
    task: TaskSpec, examples: Sequence[Example], backbone: Backbone, unlabelled: Sequence[Fields]
) -> tuple[_Start, PetHead]:
    if len(examples) < _LEAST_EXAMPLES:
        raise TaskError("preset 'strong' leaves rows out to measure itself: give it two rows at least")
    if len(examples) > _MOST_EXAMPLES:
        raise TaskError(f"preset 'strong' is for at most {_MOST_EXAMPLES} rows, not {len(examples)}: take 'plain'")
    encoded = checked_rows(task, examples, backbone)
    verbalizer = read_verbalizer(task, backbone.tokenizer)
    head = label_head(backbone, verbalizer, task)
    reading = read_frozen(backbone, head, encoded)
    known = (reading.words, row_weights(task, examples, targets_of(task, examples)))
    if unlabelled:
        further = [Example(dict(text)) for text in unlabelled]
        words = read_frozen(backbone, head, encode_rows(task, backbone.tokenizer, backbone.max_tokens, further)).words
        known = (torch.cat([known[0], words], dim=1), torch.cat([known[1], torch.ones(len(unlabelled))]))
    prior = words_prior(head, backbone, task, known)
    evidence = evidence_of(task, examples, reading, prior)
    return _Start(task, examples, backbone, verbalizer, encoded, prior, evidence), head


def _write(head: PetHead, convex: ConvexHead, prior: Tensor) -> None:
    """Put a convex head into a module's head: for raw features and uncorrected words."""
    trust = convex.trust if head.shape.words else 0.0
    head.shape = replace(head.shape, words=trust)
    with torch.no_grad():
        head.label_weight.copy_(torch.cat(convex.maps, dim=1))
        head.label_bias.copy_(convex.offset - trust * prior)


def _with_delta(run: _Run, convex: ConvexHead, on_step: OnStep | None) -> _Found | None:
    """Train a delta from the start that does best without a quarter of the rows; None if the convex head beats it."""
    start, options = run.start, run.options
    fold_of = stratified_folds(start.evidence.targets, _HELD_OUT_SHARE)
    seen = [row for row, fold in enumerate(fold_of) if fold != 0]
    unseen = [row for row, fold in enumerate(fold_of) if fold == 0]
    held_out = _rows_of(start.evidence, unseen)
    trunk = Trunk(start.backbone)
    task = DeltaTask(_cache(trunk, start), seen, _loss(start, options), options.seed)
    told = _Progress(on_step, options.steps, len(_STARTS) + 1)
    without = _rows_of(start.evidence, seen)
    heads = {name: fit_convex_head(without, penalties) for name, penalties in _STARTS.items()}
    trials = {name: _trial(run, trunk, task, (heads[name], unseen), told.part(i)) for i, name in enumerate(_STARTS)}
    losses = {name: loss_of(logits, held_out) for name, logits in trials.items()}
    losses["convex"] = loss_of(_convex_logits(heads["fitted"], held_out), held_out)
    logger.info("left-out losses: %s", ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()))
    best = min(losses, key=losses.__getitem__)
    if best == "convex":
        _write(run.head, convex, start.prior)
        return None
    task = replace(task, rows=range(len(start.examples)))
    chosen = convex if best == "fitted" else fit_convex_head(start.evidence, _STARTS[best])
    label_map, spec = _train(run, trunk, task, chosen, told.part(len(_STARTS)))
    label_map.write_to(run.head)
    tensors = {name: tensor.half() for name, tensor in run.slots.read(_SLOT).items()}
    run.slots.write(_SLOT, tensors)
    steps = options.steps * (len(_STARTS) + 1)
    return _Found(spec.model_copy(update={"dtype": "float16"}), tensors, trials[best], tuple(unseen), steps, best)


def _trial(
    run: _Run, trunk: Trunk, task: DeltaTask, where: tuple[ConvexHead, Sequence[int]], on_step: OnStep | None
) -> Tensor:
    """Logits of unseen rows by a delta from a convex head, which is then taken out again."""
    label_map, _ = _train(run, trunk, task, where[0], on_step)
    logits = delta_logits(trunk, run.head, label_map, task, where[1])
    run.slots.remove(_SLOT)
    return logits.cpu()


def _train(
    run: _Run, trunk: Trunk, task: DeltaTask, convex: ConvexHead, on_step: OnStep | None
) -> tuple[LabelMap, AdapterSpec]:
    options, backbone = run.options, run.start.backbone
    _write(run.head, convex, run.start.prior)
    torch.manual_seed(options.seed)
    spec = adapter_spec(_adapter(backbone, options), backbone.model)
    run.slots.add(_SLOT, peft_config(spec, repo=backbone.repo))
    label_map = LabelMap(convex, run.head.label_bias.detach().cpu()).to(backbone.device)
    lr = options.adapter_lr or _ADAPTER_LR_TIMES_WIDTH / backbone.hidden_size
    choices = DeltaOptions(options.steps, options.batch_size, lr, _HEAD_LR)
    train_delta(trunk, backbone, run.head, label_map, task, choices, on_step=on_step)
    return label_map, spec


@dataclass(frozen=True)
class _Progress:
    """Reports the steps of several runs as those of one."""

    on_step: OnStep | None
    steps: int
    parts: int

    def part(self, index: int) -> OnStep | None:
        """What one of the runs is to call."""
        on_step = self.on_step
        if on_step is None:
            return None
        return lambda step, _, loss: on_step(index * self.steps + step, self.parts * self.steps, loss)


def _adapter(backbone: Backbone, options: StrongOptions) -> AdapterChoice:
    layers = upper_layers(backbone)
    everywhere = len(layers) == backbone.layers
    return AdapterChoice(
        rank=options.rank,
        alpha=2.0 * options.rank,
        targets=places(backbone.model.config.model_type, "lora").linear,
        layers=None if everywhere else layers,
    )


def _cache(trunk: Trunk, start: _Start) -> list[list[list[CachedText]]]:
    cached: list[list[list[CachedText]]] = []
    for windows in start.encoded:
        texts: list[list[CachedText]] = [[] for _ in start.examples]
        for owner, item in zip(windows.owner, trunk.cache(windows.encoded), strict=True):
            texts[owner].append(item)
        cached.append(texts)
    return cached


def _loss(start: _Start, options: StrongOptions) -> Loss:
    weighted = [
        replace(example, weight=weight)
        for example, weight in zip(start.examples, start.evidence.weights.tolist(), strict=True)
    ]
    return objective(start.task, weighted, options.label_smoothing, start.backbone.device)


def _rows_of(evidence: Evidence, rows: Sequence[int]) -> Evidence:
    chosen = list(rows)
    weights = evidence.weights[chosen]
    return Evidence(
        tuple(block[chosen] for block in evidence.blocks),
        evidence.words[chosen],
        evidence.targets[chosen],
        weights / weights.mean(),
        evidence.link,
    )


def _convex_logits(convex: ConvexHead, evidence: Evidence) -> Tensor:
    logits = convex.trust * evidence.words.double() + convex.offset
    for block, weight in zip(evidence.blocks, convex.maps, strict=True):
        logits = logits + block.double() @ weight.T
    return logits


def _calibration(start: _Start, found: _Found) -> CalibrationSpec | None:
    """How sure the module may be, from rows that did not make the scores."""
    rows = list(found.rows)
    targets, weights = start.evidence.targets[rows], start.evidence.weights[rows]
    if start.evidence.link == "sigmoid":
        shares = torch.sigmoid(found.left_out).numpy()
        return CalibrationSpec(thresholds=tuple(float(x) for x in fit_thresholds(shares, targets.numpy() > 0)))
    scores = torch.log_softmax(found.left_out, dim=-1).numpy()
    return fit_calibration(scores, targets.argmax(dim=1).numpy(), weights=weights.numpy())


def _collect(run: _Run, convex: ConvexHead, found: _Found, seconds: float) -> TrainedModule:
    start, head = run.start, run.head
    for parameter in (head.label_weight, head.label_bias):
        parameter.data = parameter.data.half().float()  # what is stored is what is measured
    calibration = _calibration(start, found)
    texts = probe_texts(start.task.fields)
    scores = score(start.backbone, head, start.task, texts, calibration)
    if not bool(torch.isfinite(scores.log_probabilities).all()):
        raise InputError("training diverged, its scores are no numbers: choose a lower learning rate")
    parts: tuple[HeadPart, ...] = ("labels",)
    init: HeadInit = "mlm" if start.backbone.has_mlm_head else "random"
    facts: dict[str, bool | int | float | str] = {
        "shipped": found.shipped, "left_out_loss": round(convex.loss, 6), "words": round(convex.trust, 6),
        "words_share": round(convex.words_share, 6),
    }  # fmt: skip
    outcome = Outcome(found.steps, seconds, peak_memory_bytes(start.backbone))
    kind = found.adapter.kind
    return TrainedModule(
        task=start.task,
        backbone=start.backbone.spec(start.verbalizer),
        adapter=found.adapter,
        head=head_spec(head, init, parts).model_copy(update={"dtype": "float16"}),
        training=training_spec(
            start.task,
            start.examples,
            start.backbone,
            outcome,
            preset="strong",
            seed=run.options.seed,
            hyperparameters=run.options.hyperparameters() | facts,
        ),
        calibration=calibration,
        golden=record_golden(texts, scores),
        adapter_config=None if kind == "none" else config_values(peft_config(found.adapter, repo=start.backbone.repo)),
        adapter_tensors=found.tensors,
        head_tensors={name: tensor.detach().cpu().half() for name, tensor in part_parameters(head, parts).items()},
    )
