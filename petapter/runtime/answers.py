"""From scores to what a user is told: the label, the labels that reach their thresholds, or none."""

from dataclasses import dataclass

import torch

from petapter.scoring import Scores
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec

DEFAULT_THRESHOLD = 0.5
"""From which probability on a multi-label module gives a label, where nothing else was fitted."""


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Attributes:
        alias: The module that gave it.
        label: The most probable label, or None where the module abstains or gives no label.
        probabilities: By label, in label order; of a multi-label module each on its own.
        lost_tokens: How many tokens of the text the backbone could not read.
        labels: All labels given, in label order: `label` alone or none, from a multi-label module also several.
    """

    alias: str
    label: str | None
    probabilities: dict[str, float]
    lost_tokens: int
    labels: tuple[str, ...] = ()


def predictions(alias: str, task: TaskSpec, calibration: CalibrationSpec | None, scores: Scores) -> list[Prediction]:
    """One answer per scored text."""
    least = thresholds(task, calibration)
    single = task.type == "single-label"
    answers: list[Prediction] = []
    for row, lost in zip(torch.exp(scores.log_probabilities).tolist(), scores.lost_tokens, strict=True):
        probabilities: dict[str, float] = dict(zip(task.label_names, row, strict=True))
        reached = tuple(name for name, bound in zip(probabilities, least, strict=True) if probabilities[name] >= bound)
        label = max(reached, key=probabilities.__getitem__, default=None)
        labels = reached[:0] if label is None else (label,) if single else reached
        answers.append(Prediction(alias, label, probabilities, lost, labels))
    return answers


def thresholds(task: TaskSpec, calibration: CalibrationSpec | None) -> tuple[float, ...]:
    """From which probability on each label may be given; a single-label module gives the best of those."""
    if task.type == "single-label":
        return ((calibration.abstain_below if calibration else None) or 0.0,) * len(task.labels)
    fitted = calibration.thresholds if calibration else None
    return fitted or (DEFAULT_THRESHOLD,) * len(task.labels)
