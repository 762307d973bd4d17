"""Trains a module, and the same again without each fold of its rows: scores of left-out rows say how sure it may be.

The module is the one that all rows make; the further ones are trained alike, with the same seed, and thrown away. They
see a fold less, so that the module is likely a little better than its calibration says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from petapter.adapters import AdapterSlots, peft_config
from petapter.backbone import Backbone
from petapter.golden import probe_texts, record_golden
from petapter.head import restore_head
from petapter.scoring import Scores, score
from petapter.task import Example, encode_rows
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.convex import stratified_folds
from petapter.training.evidence import row_weights, targets_of
from petapter.training.options import Recipe
from petapter.training.out_of_fold import calibration_from, check_abstention
from petapter.training.profiling import LeftOut, profile_rows
from petapter.training.record import peak_memory_bytes
from petapter.training.trainer import EncodedRows, OnStep, as_one, follow, follow_encoded
from petapter_schemas.errors import InputError
from petapter_schemas.manifest import CalibrationSpec, TrainingSpec
from petapter_schemas.task import TaskSpec

_SLOT = "scored_here"


@dataclass(frozen=True)
class Folds:
    """How a module is calibrated.

    Attributes:
        count: Folds of the rows, and so the number of further runs.
        abstain_error_rate: The share of all texts that may get a wrong label; None never abstains.
    """

    count: int
    abstain_error_rate: float | None = None

    def __post_init__(self) -> None:
        if self.count < 2:  # noqa: PLR2004 (without its only fold a run has no rows)
            raise InputError(f"calibration leaves one fold out of several: take 2 folds or more, not {self.count}")


def follow_in_folds(
    recipe_of: Callable[[int], Recipe],
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    folds: Folds,
    *,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module as `follow` does, and calibrate it by as many further runs as there are folds.

    Args:
        recipe_of: What a run on a number of rows does.
        task: The task.
        examples: Labelled rows; every label among them must be left whichever fold is not.
        backbone: The backbone.
        folds: How to calibrate.
        on_step: Sees the steps of all runs as those of one.

    Raises:
        InputError: The rows are too few for the folds or the error rate, or training diverged.
        PetapterError: As `follow`.
    """
    targets, weights = targets_of(task, examples), _weights(task, examples)
    check_abstention(task, weights, folds.abstain_error_rate)
    fold_of = fold_of_rows(task, examples, folds)
    parts = [[row for row, own in enumerate(fold_of) if own == fold] for fold in range(folds.count)]
    recipes = [recipe_of(len(examples)), *(recipe_of(len(examples) - len(unseen)) for unseen in parts)]
    told = as_one(on_step, [recipe.options.steps or 0 for recipe in recipes])
    module = follow(recipes[0], task, examples, backbone, on_step=told[0])
    began = time.perf_counter()
    left_out = torch.zeros(len(examples), len(task.labels))
    for recipe, unseen, on_part in zip(recipes[1:], parts, told[1:], strict=True):
        seen = [examples[row] for row in sorted(set(range(len(examples))) - set(unseen))]
        encoded = encode_rows(task, backbone.tokenizer, backbone.max_tokens, seen)
        trained = follow_encoded(recipe, EncodedRows(task, seen, encoded), backbone, on_step=on_part)
        left_out[unseen] = _logits(_score(backbone, trained, [examples[row].fields for row in unseen], None), task)
    calibration = calibration_from(task, left_out, targets, weights, folds.abstain_error_rate)
    calibrated = with_calibration(module, calibration, backbone)
    profile = profile_rows(task, examples, backbone, LeftOut(left_out, targets, calibration))
    record = _training(module, folds, time.perf_counter() - began, backbone)
    return replace(calibrated, training=record, profile=profile)


def fold_of_rows(task: TaskSpec, examples: Sequence[Example], folds: Folds) -> list[int]:
    """A fold for each row, from 0; rows with the same labels are spread over all folds.

    Raises:
        InputError: There are fewer rows than folds, or all rows of a label are in one fold.
    """
    if len(examples) < folds.count:
        raise InputError(f"{folds.count} folds need {folds.count} rows or more, and there are {len(examples)}")
    targets = targets_of(task, examples)
    fold_of = stratified_folds(targets, folds.count)
    for label, name in enumerate(task.label_names):
        rows = [fold for fold, has in zip(fold_of, targets[:, label].tolist(), strict=True) if has]
        if len(rows) == 1:
            raise InputError(
                f"label {name!r} has one row, which no fold can spare: add rows of it, or train without calibration"
            )
        if len(set(rows)) == 1:
            raise InputError(
                f"all {len(rows)} rows of label {name!r} are in one of {folds.count} folds: take more folds, add rows "
                "of it, or train without calibration"
            )
    return fold_of


def _weights(task: TaskSpec, examples: Sequence[Example]) -> Tensor:
    """How much each row counts, [N], of mean 1; as in `plain`."""
    own = torch.tensor([example.weight for example in examples])
    return own / own.mean() if task.class_prior is None else row_weights(task, examples, targets_of(task, examples))


def _score(
    backbone: Backbone, module: TrainedModule, texts: Sequence[Fields], calibration: CalibrationSpec | None
) -> Scores:
    """What a module says of texts; the backbone is bare again afterwards."""
    slots = AdapterSlots(backbone.model)
    with torch.random.fork_rng([]):  # new layers draw numbers before they get their weights
        try:
            head = restore_head(
                backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors
            )
            if module.adapter.kind != "none":
                slots.add(_SLOT, peft_config(module.adapter))
                slots.write(_SLOT, module.adapter_tensors)
            return score(backbone, head, module.task, texts, calibration)
        finally:
            slots.close()
            backbone.model.eval()


def _logits(scores: Scores, task: TaskSpec) -> Tensor:
    """Label logits [N, L]; single-label ones up to a constant per row."""
    if task.type == "single-label":
        return scores.log_probabilities
    return torch.logit(torch.exp(scores.log_probabilities))


def with_calibration(module: TrainedModule, calibration: CalibrationSpec, backbone: Backbone) -> TrainedModule:
    """The module with a calibration, and what it then says of the probe texts."""
    texts = probe_texts(module.task.fields)
    golden = record_golden(texts, _score(backbone, module, texts, calibration))
    return replace(module, calibration=calibration, golden=golden)


def _training(module: TrainedModule, folds: Folds, seconds: float, backbone: Backbone) -> TrainingSpec:
    """The record of the run with the time and the memory of the further ones; the steps are the module's own."""
    own = module.training
    return own.model_copy(
        update={
            "seconds": round(own.seconds + seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(backbone),
            "hyperparameters": own.hyperparameters | {"calibrate_folds": folds.count},
        }
    )
