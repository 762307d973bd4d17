"""The one door to training: which options are given decides which preset trains."""

from collections.abc import Mapping, Sequence

from petapter.backbone import Backbone
from petapter.task import Example
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter.training.options import TrainingOptions
from petapter.training.paper import PaperOptions, train_paper
from petapter.training.strong import StrongOptions, train_strong
from petapter.training.trainer import OnStep, train_plain
from petapter_schemas.task import TaskSpec

PresetOptions = StrongOptions | TrainingOptions | PaperOptions

REVISIONS: Mapping[str, int] = {"paper": 1, "plain": 1, "strong": 2}
"""By preset a number that grows when the same options and rows come to give another module; benchmark results of an
earlier number are not those of this code."""


def train(
    task: TaskSpec,
    examples: Sequence[Example],
    backbone: Backbone,
    options: PresetOptions | None = None,
    *,
    unlabelled: Sequence[Fields] = (),
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
        on_step: Called after each step with the step, the number of steps and the loss.

    Raises:
        TaskError: The task or the rows cannot work; the message names the first problem.
        InputError: Training diverged.
        BackboneError: The backbone lacks a needed part, or an engine has it.
    """
    match options:
        case PaperOptions():
            return train_paper(task, examples, backbone, options, on_step=on_step)
        case TrainingOptions():
            return train_plain(task, examples, backbone, options, on_step=on_step)
        case _:
            return train_strong(task, examples, backbone, options, unlabelled=unlabelled, on_step=on_step)
