"""Preset `strong`: label words without their prior, a convex head on frozen features, and a small delta where it pays.

1. The frozen backbone reads every text once: scores of the label words, features at the mask, pools of the text.
2. The convex head (petapter/training/convex.py) weighs them by leaving rows out. It has no seed and is the floor.
3. With enough rows a small delta in the upper layers (petapter/training/trial.py) goes on from the label words for a
   fixed number of steps. The convex head is added to what it then says, and so is a second one, of what the adapted
   backbone says. All together ship if trials without a quarter of the rows lose less on that quarter than the convex
   head of the other rows, or get more of it right.
4. The left-out scores say how sure the module may be: a temperature, with enough rows a bias per label, and for an
   error rate the probability below which it gives no label.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from petapter.adapters import AdapterSlots, config_values, peft_config
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.head import HeadInit, head_spec, part_parameters
from petapter.scoring import score
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.convex import ConvexHead, fit_convex_head
from petapter.training.evidence import FrozenRows, frozen_rows, write_convex_head
from petapter.training.long_texts import KeepChoice, choose_keep, refuse_highest_pool
from petapter.training.options import StrongOptions
from petapter.training.out_of_fold import calibration_from, check_abstention
from petapter.training.profiling import LeftOut, profile_rows
from petapter.training.record import Outcome, peak_memory_bytes, training_spec
from petapter.training.trainer import OnStep, checked_rows
from petapter.training.trial import Delta, Run, held_out_rows, try_delta
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.manifest import HeadPart
from petapter_schemas.task import TaskSpec

logger = logging.getLogger(__name__)

_NO_ADAPTER = AdapterSpec(kind="none", parameters=0)
_LEAST_EXAMPLES, _MOST_EXAMPLES = 2, 2000
"""The convex head is solved in the span of the rows: beyond a few thousand that costs more than it brings."""

_Facts = dict[str, bool | int | float | str]


def train_strong(  # noqa: PLR0913 (a door of the library, with a default for each option)
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: StrongOptions | None = None,
    *,
    unlabelled: Sequence[Fields] = (),
    abstain_error_rate: float | None = None,
    on_step: OnStep | None = None,
    on_left_out: Callable[[LeftOut], None] | None = None,
) -> TrainedModule:
    """Train a module with the preset `strong`.

    Args:
        task: Several patterns are averaged; the label words of each label count if leaving rows out says so.
        examples: Labelled rows, two or more.
        backbone: Without a masked-LM head the label words are not used.
        options: Defaults that were chosen on rows that no test set holds.
        unlabelled: Texts of the same kind without labels; they make the words' prior surer.
        abstain_error_rate: As in `train`. Where the half of the rows that tries a delta cannot promise it, but all rows
            can, no delta is tried.
        on_step: Called after each step of the delta with the step, the number of steps and the loss.
        on_left_out: Called once with what models said of rows that they had not seen; of the delta where one ships.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged, or the error rate is none that so many rows can promise.
        BackboneError: An engine has the backbone.
    """
    options = options or StrongOptions()
    began = time.perf_counter()
    slots = AdapterSlots(backbone.model)
    devices = [backbone.device] if backbone.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        try:
            torch.manual_seed(options.seed)
            _check_count(examples)
            refuse_highest_pool(task)
            choice = None if options.keep == "as-written" else choose_keep(task, examples, backbone)
            task, reading = (choice.task, choice.reading) if choice else (task, None)
            encoded = checked_rows(task, examples, backbone)
            rows, head = frozen_rows(task, examples, backbone, encoded, unlabelled, reading)
            check_abstention(task, rows.evidence.weights, abstain_error_rate)
            convex = fit_convex_head(rows.evidence)
            run = Run(rows, head, slots, options)
            delta = try_delta(run, convex, on_step) if _delta_may_pay(rows, options, abstain_error_rate) else None
            if delta is None:
                write_convex_head(head, convex, rows.prior)
            seconds = time.perf_counter() - began
            left_out = _left_out(rows, convex, delta, abstain_error_rate)
            if on_left_out is not None:
                on_left_out(left_out)
            return _collect(run, _Result(convex, delta, left_out, seconds, _kept(choice)))
        finally:
            slots.close()
            backbone.model.eval()


@dataclass(frozen=True)
class _Result:
    """What a run found; the head is written already."""

    convex: ConvexHead
    delta: Delta | None
    left_out: LeftOut
    seconds: float
    facts: Mapping[str, bool | int | float | str]


def _check_count(examples: Sequence[Example]) -> None:
    if len(examples) < _LEAST_EXAMPLES:
        raise TaskError("preset 'strong' leaves rows out to measure itself: give it two rows at least")
    if len(examples) > _MOST_EXAMPLES:
        raise TaskError(f"preset 'strong' is for at most {_MOST_EXAMPLES} rows, not {len(examples)}: take 'plain'")


def _kept(choice: KeepChoice | None) -> _Facts:
    """How long texts are kept where rows chose, and what speaks for it."""
    if choice is None:
        return {}
    return {"kept": choice.keep} | {f"left_out_loss_{way.keep}": round(way.loss, 6) for way in choice.ways}


def _delta_may_pay(rows: FrozenRows, options: StrongOptions, abstain_error_rate: float | None) -> bool:
    if options.delta == "never" or len(rows.examples) < options.least_rows:
        return False
    try:
        check_abstention(rows.task, rows.evidence.weights[list(held_out_rows(rows.evidence))], abstain_error_rate)
    except InputError as error:
        logger.warning("no delta is tried, since it is measured on half of the rows: %s", error)
        return False
    return True


def _left_out(rows: FrozenRows, convex: ConvexHead, delta: Delta | None, abstain_error_rate: float | None) -> LeftOut:
    """How sure the module may be, from rows that did not make the scores."""
    logits, targets, weights = convex.out_of_fold, rows.evidence.targets, rows.evidence.weights
    if delta is not None:
        unseen = list(delta.rows)
        logits, targets, weights = delta.left_out, targets[unseen], weights[unseen]
    calibration = calibration_from(rows.task, logits, targets, weights, abstain_error_rate)
    return LeftOut(logits, targets, calibration, None if delta is None else delta.rows)


def _collect(run: Run, result: _Result) -> TrainedModule:
    rows, head, convex, delta = run.rows, run.head, result.convex, result.delta
    for parameter in (head.label_weight, head.label_bias):
        parameter.data = parameter.data.half().float()  # what is stored is what is measured
    texts = probe_texts(rows.task.fields)
    scores = score(rows.backbone, head, rows.task, texts, result.left_out.calibration)
    if not bool(torch.isfinite(scores.log_probabilities).all()):
        raise InputError("training diverged, its scores are no numbers: choose a lower learning rate")
    parts: tuple[HeadPart, ...] = ("labels",)
    # the format has no word for a head of a label map alone, which began at zero: "random" says that none of it is the
    # backbone's, and that holds
    init: HeadInit = "mlm" if rows.backbone.has_mlm_head else "random"
    facts: _Facts = {
        "shipped": "convex" if delta is None else "delta", "left_out_loss": round(convex.loss, 6),
        "words": round(convex.trust, 6), "words_share": round(convex.words_share, 6), **result.facts,
    }  # fmt: skip
    steps = 0 if delta is None else delta.steps
    adapter = _NO_ADAPTER if delta is None else delta.adapter
    tensors: Mapping[str, Tensor] = {} if delta is None else delta.tensors
    return TrainedModule(
        task=rows.task,
        backbone=rows.backbone.spec(rows.verbalizer),
        adapter=adapter,
        head=head_spec(head, init, parts).model_copy(update={"dtype": "float16"}),
        training=training_spec(
            rows.task,
            rows.examples,
            rows.backbone,
            Outcome(steps, result.seconds, peak_memory_bytes(rows.backbone)),
            preset="strong",
            seed=run.options.seed,
            hyperparameters=run.options.hyperparameters() | facts,
        ),
        calibration=result.left_out.calibration,
        golden=record_golden(texts, scores),
        adapter_config=None if delta is None else config_values(peft_config(adapter, repo=rows.backbone.repo)),
        adapter_tensors=dict(tensors),
        head_tensors={name: tensor.detach().cpu().half() for name, tensor in part_parameters(head, parts).items()},
        profile=profile_rows(rows.task, rows.examples, rows.backbone, result.left_out),
    )
