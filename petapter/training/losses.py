"""Which of the losses that a run tells are those of the module that came of it, thinned out for a plot."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from petapter_schemas.manifest import TrainingSpec
from petapter_schemas.plot_data import LossPoint

_POINTS = 100


def module_losses(training: TrainingSpec, told: Sequence[float]) -> tuple[LossPoint, ...]:
    """The losses of the module's own steps.

    Further runs, which calibrate or try, are told as steps too: those of folds after the module's own, the trials of
    preset `strong` before.

    Args:
        training: What the manifest says of the run.
        told: Every loss that `on_step` heard, in order.

    Returns:
        At most 100 points, each the mean of the steps since the one before; none where no step made the module.
    """
    if training.preset == "strong":
        own = _last(told, training.hyperparameters.get("steps")) if training.steps else []
    else:
        own = told[: training.steps]
    ends = sorted({round(part * len(own) / _POINTS) for part in range(_POINTS + 1)})
    return tuple(LossPoint(step=end, loss=round(fmean(own[start:end]), 6)) for start, end in pairwise(ends))


def _last(told: Sequence[float], steps: object) -> Sequence[float]:
    return told[-steps:] if isinstance(steps, int) else []
