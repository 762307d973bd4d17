"""What a multi-label module's answers are worth on rows that have several labels, one or none."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from petapter.evaluation.multilabel import evaluate_multilabel
from petapter.task.examples import Example, rows_digest
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec
from petapter_schemas.task import TaskSpec


def evaluate_label_sets(
    answers: tuple[npt.ArrayLike, Sequence[float]],
    task: TaskSpec,
    examples: Sequence[Example],
    *,
    name: str,
    split: str,
    seeds: Sequence[int],
) -> tuple[EvaluationSpec, ...]:
    """Measure the probabilities [N, L] of a multi-label module and its thresholds [L] on labelled rows.

    The figures are those of `evaluate_multilabel`.

    Raises:
        DataError: There are no rows, or a label is not one of the task's.
    """
    if not examples:
        raise DataError("there are no rows to evaluate on")
    rows = EvaluationSet(name=name, sha256=rows_digest(examples), split=split, n=len(examples))
    probabilities, thresholds = answers
    return tuple(
        figure.on(rows, seeds)
        for figure in evaluate_multilabel(probabilities, gold_labels(task, examples), list(thresholds))
    )


def gold_labels(task: TaskSpec, examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Which rows have which labels, [N, L] in label order.

    Raises:
        DataError: A label is not one of the task's.
    """
    index = {label: position for position, label in enumerate(task.label_names)}
    gold = np.zeros((len(examples), len(index)), dtype=np.bool_)
    for row, example in enumerate(examples):
        for label in example.label_names:
            if label not in index:
                raise DataError(f"row {row + 1} has the label {label!r}, which the task lacks: correct or drop it")
            gold[row, index[label]] = True
    return gold
