"""Accuracy and macro-F1 with bootstrap intervals over the rows of an evaluation set."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score

from petapter.evaluation.intervals import RESAMPLES, percentile_interval
from petapter.task.examples import Example, rows_digest
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec

_Counts = npt.NDArray[np.int64]


def evaluate_predictions(
    predicted: Sequence[str], examples: Sequence[Example], *, name: str, split: str, seeds: Sequence[int]
) -> tuple[EvaluationSpec, EvaluationSpec]:
    """Measure accuracy and macro-F1 of predicted labels.

    Macro-F1 is scikit-learn's: the mean over the labels that occur among the rows or the predictions. Intervals are
    percentiles of 2,000 resamples of the rows with a fixed seed (Efron 1979); they tell how sure the figure is on this
    kind of rows, not how it varies with other training rows or seeds.

    Args:
        predicted: One label per example.
        examples: The labelled rows.
        name: Name of the evaluation set.
        split: Which part of it.
        seeds: Training seeds of the module.

    Raises:
        DataError: There are no rows.
    """
    if not examples:
        raise DataError("there are no rows to evaluate on")
    gold = [example.label for example in examples]
    values = {
        "accuracy": float(accuracy_score(gold, predicted)),
        "macro_f1": float(f1_score(gold, predicted, average="macro", zero_division=0)),
    }
    resampled = _resample(_confusion(gold, predicted))
    intervals = {
        "accuracy": percentile_interval(_accuracy(resampled)),
        "macro_f1": percentile_interval(_macro_f1(resampled)),
    }
    rows = EvaluationSet(name=name, sha256=rows_digest(examples), split=split, n=len(examples))
    accuracy, macro_f1 = (
        EvaluationSpec(metric=metric, value=value, interval=intervals[metric], evaluation_set=rows, seeds=tuple(seeds))
        for metric, value in values.items()
    )
    return accuracy, macro_f1


def majority_accuracy(examples: Sequence[Example]) -> float:
    """Accuracy of always answering the most frequent label of these rows: what any module has to beat."""
    return Counter(example.label for example in examples).most_common(1)[0][1] / len(examples)


def _confusion(gold: Sequence[str], predicted: Sequence[str]) -> _Counts:
    """Counts [C, C] of gold label (row) and predicted label (column) over the labels that occur."""
    index = {label: position for position, label in enumerate(sorted({*gold, *predicted}))}
    counts = np.zeros((len(index), len(index)), dtype=np.int64)
    for truth, answer in zip(gold, predicted, strict=True):
        counts[index[truth], index[answer]] += 1
    return counts


def _resample(confusion: _Counts) -> _Counts:
    """Confusion counts of resampled rows, [R, C, C]: drawing rows with replacement is a multinomial draw of cells."""
    total = int(confusion.sum())
    drawn = np.random.default_rng(0).multinomial(total, confusion.ravel() / total, size=RESAMPLES)
    return drawn.reshape(RESAMPLES, *confusion.shape)


def _accuracy(confusions: _Counts) -> npt.NDArray[np.float64]:
    correct = np.trace(confusions, axis1=1, axis2=2)
    return np.asarray(correct / confusions.sum(axis=(1, 2)), dtype=np.float64)


def _macro_f1(confusions: _Counts) -> npt.NDArray[np.float64]:
    hits = np.diagonal(confusions, axis1=1, axis2=2)  # [R, C]
    both = confusions.sum(axis=1) + confusions.sum(axis=2)  # predicted plus gold, [R, C]
    occurs = both > 0
    f1 = np.where(occurs, 2 * hits / np.maximum(both, 1), 0.0)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1), dtype=np.float64)
