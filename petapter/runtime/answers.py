"""From scores to what a user is told: the label, the labels that reach their thresholds, or none; and its worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from petapter.evaluation import Answers, evaluate_label_sets, evaluate_probabilities
from petapter.scoring import Scores
from petapter.task.examples import Example
from petapter_schemas.manifest import CalibrationSpec, EvaluationSpec
from petapter_schemas.plot_data import MAX_CONFUSED_LABELS, Confusion
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


@dataclass(frozen=True)
class Voice:
    """What makes answers of scores, of a module or of several together.

    Attributes:
        task: Type and labels.
        calibration: Thresholds; what it says of temperature and bias is in the scores already.
        seeds: Training seeds.
    """

    task: TaskSpec
    calibration: CalibrationSpec | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Examined:
    """What labelled rows tell of a module.

    Attributes:
        figures: As `measured`.
        confusion: Which labels were taken for which; None of a multi-label module, and of more labels than are drawn.
    """

    figures: tuple[EvaluationSpec, ...]
    confusion: Confusion | None


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


def measured(
    voice: Voice, probabilities: Sequence[Sequence[float]], examples: Sequence[Example], *, name: str, split: str
) -> tuple[EvaluationSpec, ...]:
    """What the probabilities [N, L] of labelled rows are worth: figures of the type of the task.

    Raises:
        DataError: There are no rows, or a label is not one of the task's.
    """
    if voice.task.type == "multi-label":
        given = (probabilities, thresholds(voice.task, voice.calibration))
        return evaluate_label_sets(given, voice.task, examples, name=name, split=split, seeds=voice.seeds)
    abstain_below = voice.calibration.abstain_below if voice.calibration else None
    answers = Answers(probabilities, voice.task.label_names, abstain_below)
    return evaluate_probabilities(answers, examples, name=name, split=split, seeds=voice.seeds)


def examined(
    voice: Voice, probabilities: Sequence[Sequence[float]], examples: Sequence[Example], *, name: str, split: str
) -> Examined:
    """The figures of `measured`, and the confusion of the most probable labels, also where the module would abstain.

    Raises:
        DataError: As `measured`.
    """
    figures = measured(voice, probabilities, examples, name=name, split=split)
    names = voice.task.label_names
    if voice.task.type == "multi-label" or len(names) > MAX_CONFUSED_LABELS:
        return Examined(figures, None)
    counts = [[0] * len(names) for _ in names]
    for row, example in zip(probabilities, examples, strict=True):
        counts[names.index(example.label)][max(range(len(names)), key=row.__getitem__)] += 1
    return Examined(figures, Confusion(evaluation_set=figures[0].evaluation_set, counts=tuple(map(tuple, counts))))
