"""What every baseline makes of a trial: the rows' classes and weights, joined texts, answers over all labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from petapter.benchmark.methods import Trial
from petapter.task.encoding import Fields
from petapter_schemas.errors import DataError, InputError, TaskError

_SMALLEST = float(np.finfo(np.float32).tiny)
"""What a probability is at least, so that its logarithm is a number."""


def class_positions(trial: Trial) -> list[int]:
    """The label of each labelled row, as its position among the task's.

    Raises:
        InputError: There are no rows, the task is multi-label, or a row has a label that the task lacks.
    """
    if trial.task.type != "single-label":
        raise TaskError("the task is multi-label: the baselines answer single-label tasks")
    if not trial.train:
        raise DataError("there are no rows to train on")
    position = {name: index for index, name in enumerate(trial.task.label_names)}
    if unknown := [row.label for row in trial.train if row.label not in position]:
        raise DataError(f"label {unknown[0]!r} is not in the task: correct the row or add the label")
    return [position[row.label] for row in trial.train]


def row_weights(trial: Trial) -> npt.NDArray[np.float64]:
    """How much each labelled row counts, [N], of mean 1."""
    weights = np.array([row.weight for row in trial.train], dtype=np.float64)
    shares: npt.NDArray[np.float64] = weights / weights.mean()
    return shares


def joined(texts: Sequence[Fields], fields: Sequence[str], between: str = " ") -> list[str]:
    """Each text as one string: its fields in the task's order."""
    return [between.join(text[name] for name in fields) for text in texts]


def logarithms(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Probabilities [N, L] as the float32 logarithms of an answer, none of them infinite."""
    return np.log(np.maximum(probabilities, _SMALLEST)).astype(np.float32)


def normalised(logits: Tensor) -> npt.NDArray[np.float32]:
    """Label logits [N, L] as an answer's log-probabilities.

    Raises:
        InputError: They are no numbers.
    """
    if not bool(torch.isfinite(logits).all()):
        raise InputError("training diverged, its scores are no numbers: choose a lower 'lr'")
    scores: npt.NDArray[np.float32] = torch.log_softmax(logits.double(), dim=-1).float().cpu().numpy()
    return scores
