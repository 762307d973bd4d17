"""What a module's probabilities are worth: calibration error, Brier score, log loss, and knowing when it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from petapter.evaluation.arrays import checked_distributions, label_positions
from petapter.evaluation.intervals import Figure, mean_figures
from petapter.evaluation.metrics import evaluate_predictions
from petapter.evaluation.reliability import ConfidenceRanking, expected_calibration_error
from petapter.evaluation.risk_coverage import area_under_risk_coverage, threshold_figures
from petapter.task.examples import Example
from petapter_schemas.manifest import EvaluationSpec

_SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities are at least this in the log loss, as in scikit-learn: one sure error must not make it infinite."""


@dataclass(frozen=True)
class Answers:
    """What a module says of some rows.

    Attributes:
        probabilities: [N, L], each row a distribution over the labels.
        label_names: The L labels in that order.
        abstain_below: The module gives no label below this probability; None if it always answers.
    """

    probabilities: npt.ArrayLike
    label_names: Sequence[str]
    abstain_below: float | None = None


def evaluate_probabilities(
    answers: Answers, examples: Sequence[Example], *, name: str, split: str, seeds: Sequence[int]
) -> tuple[EvaluationSpec, ...]:
    """Measure a module by its probabilities.

    First `accuracy` and `macro_f1` of the most probable labels, whether the module would give them or abstain; then
    `ece` (see `expected_calibration_error`), `brier` (the squared distance to the right answer summed over all labels,
    from 0 to 2; Brier 1950), `log_loss` (in nats), `aurc` (see `area_under_risk_coverage`), and, for a module that
    abstains, `coverage` and `selective_accuracy` (see `threshold_figures`). Intervals are as in `evaluate_predictions`.

    Args:
        answers: One distribution per example.
        examples: The labelled rows.
        name: Name of the evaluation set.
        split: Which part of it.
        seeds: Training seeds of the module.

    Raises:
        DataError: There are no rows, a label is not the module's, or the probabilities are none.
    """
    probabilities = checked_distributions(answers.probabilities, rows=len(examples))  # [N, L]
    gold = label_positions([example.label for example in examples], answers.label_names)
    best = probabilities.argmax(axis=1)
    predicted = [answers.label_names[label] for label in best.tolist()]
    accuracy, macro_f1 = evaluate_predictions(predicted, examples, name=name, split=split, seeds=seeds)
    ranking = ConfidenceRanking.of(probabilities.max(axis=1), best == gold)
    right = np.eye(probabilities.shape[1])[gold]
    scores = {
        "brier": ((probabilities - right) ** 2).sum(axis=1),
        "log_loss": -np.log(probabilities[np.arange(len(gold)), gold].clip(_SMALLEST, 1 - _SMALLEST)),
    }
    figures: list[Figure] = [expected_calibration_error(ranking), *mean_figures(scores)]
    figures.append(area_under_risk_coverage(ranking))
    if answers.abstain_below is not None:
        figures.extend(threshold_figures(ranking, answers.abstain_below))
    return (accuracy, macro_f1, *(figure.on(accuracy.evaluation_set, seeds) for figure in figures))
