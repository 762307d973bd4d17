"""The one door to training: which options are given decides which preset trains."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from petapter.backbone import Backbone
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.folds import Folds, follow_in_folds
from petapter.training.options import StrongOptions, TrainingOptions
from petapter.training.out_of_fold import check_abstention
from petapter.training.paper import PaperOptions, paper_task, train_paper
from petapter.training.strong import train_strong
from petapter.training.trainer import OnStep, plain_recipe, train_plain
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec

PresetOptions = StrongOptions | TrainingOptions | PaperOptions

REVISIONS: Mapping[str, int] = {"paper": 1, "plain": 1, "strong": 7}
"""By preset a number that grows when the same options and rows come to give another module; benchmark results of an
earlier number are not those of this code."""


def train(  # noqa: PLR0913 (the one door, with a default for each option)
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: PresetOptions | None = None,
    *,
    unlabelled: Sequence[Fields] = (),
    calibrate_folds: int | None = None,
    abstain_error_rate: float | None = None,
    on_step: OnStep | None = None,
) -> TrainedModule:
    """Train a module on labelled examples; the backbone is bare again afterwards, also when training fails.

    Args:
        task: Labels, words and patterns.
        examples: Labelled rows.
        backbone: The frozen masked language model.
        options: StrongOptions for the preset `strong`, which is the default; TrainingOptions for `plain`, in which one
            adapter and the head train from the first to the last step; PaperOptions for the paper's own training.
        unlabelled: Further texts of the same kind; `strong` alone uses them.
        calibrate_folds: Calibrate a module of `plain` or `paper` by that many further runs, each without one fold of
            the rows; the module itself is the same to the bit. None leaves it uncalibrated; `strong` calibrates itself.
        abstain_error_rate: The module gives no label where it is not sure enough, so that at most this share of texts
            like the rows is expected to get a wrong one (`abstention_threshold`). None always answers.
        on_step: Called after each step with the step, the number of steps and the loss, over all runs.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged, or calibration or error rate fit neither preset nor rows.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    check_abstention(task, torch.ones(len(examples)), abstain_error_rate)
    folds = _folds(options, calibrate_folds, abstain_error_rate)
    match options:
        case PaperOptions() if folds is not None:
            read = paper_task(task, backbone, options)
            return follow_in_folds(options.recipe, read, examples, backbone, folds, on_step=on_step)
        case PaperOptions():
            return train_paper(task, examples, backbone, options, on_step=on_step)
        case TrainingOptions() if folds is not None:
            recipe_of = partial(plain_recipe, options, backbone)
            return follow_in_folds(recipe_of, task, examples, backbone, folds, on_step=on_step)
        case TrainingOptions():
            return train_plain(task, examples, backbone, options, on_step=on_step)
        case _:
            return train_strong(
                task,
                examples,
                backbone,
                options,
                unlabelled=unlabelled,
                abstain_error_rate=abstain_error_rate,
                on_step=on_step,
            )


def _folds(options: PresetOptions | None, count: int | None, abstain_error_rate: float | None) -> Folds | None:
    """How a module of `plain` or `paper` is to be calibrated, if at all.

    Raises:
        InputError: The preset calibrates itself, or cannot know where to abstain.
    """
    if isinstance(options, StrongOptions | None):
        if count is not None:
            raise InputError("preset 'strong' calibrates itself by the rows it leaves out: drop calibrate_folds")
        return None
    if count is not None:
        return Folds(count, abstain_error_rate)
    if abstain_error_rate is not None:
        preset = "paper" if isinstance(options, PaperOptions) else "plain"
        raise InputError(
            f"preset {preset!r} knows how sure it may be from folds alone: give calibrate_folds, such as 5, with an "
            "abstain error rate"
        )
    return None
