"""The figures of one run: how good the answers are, and how honest their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from petapter.benchmark.results import pack_bits
from petapter.evaluation.probabilities import Answers, evaluate_probabilities
from petapter.task import Example
from petapter_schemas.errors import InputError

_SUM_TOLERANCE = 1e-3
"""float32 over many labels."""


@dataclass(frozen=True)
class Figures:
    """What is measured on the test rows; the definitions are those of `evaluate_probabilities`.

    Attributes:
        values: By metric: accuracy, macro_f1, ece, brier, log_loss, aurc.
        correct: Whether each answer was right, packed.
    """

    values: dict[str, float]
    correct: str


def measure(log_probabilities: npt.NDArray[np.float32], label_names: Sequence[str], test: Sequence[Example]) -> Figures:
    """Compare log-probabilities [N, L] with the labels of the test rows.

    Raises:
        InputError: They are no distribution over the labels for each row.
    """
    expected = (len(test), len(label_names))
    if log_probabilities.shape != expected:
        raise InputError(f"the method answered with shape {log_probabilities.shape}, expected {expected}")
    probabilities = np.exp(log_probabilities.astype(np.float64))  # [N, L]
    sums = probabilities.sum(axis=1, keepdims=True)
    if not (np.abs(sums - 1) <= _SUM_TOLERANCE).all():  # written so that NaN fails too
        raise InputError("the method answered with probabilities that do not sum to 1: it has to normalise them")
    probabilities /= sums
    specs = evaluate_probabilities(
        Answers(probabilities, label_names), test, name="test rows", split="test", seeds=(0,)
    )
    gold = [label_names.index(row.label) for row in test]
    return Figures({spec.metric: spec.value for spec in specs}, pack_bits(probabilities.argmax(axis=1) == gold))
