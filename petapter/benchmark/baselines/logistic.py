"""Logistic regression whose strength of regularisation is given, or chosen by leaving labelled rows out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from petapter.benchmark.baselines.rows import logarithms
from petapter.benchmark.methods import Trial


def _number_or_cv(value: object) -> object:
    if value != "cv" and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
        raise ValueError('expected a number above 0, or "cv" to choose it on the labelled rows')
    return value


RegularisationC = Annotated[float | Literal["cv"], BeforeValidator(_number_or_cv)]
"""scikit-learn's C, the inverse strength; "cv" chooses it on the labelled rows."""

_CANDIDATES: Final = (0.1, 1.0, 10.0, 100.0)
_DEFAULT: Final = 1.0
"""scikit-learn's own; what "cv" falls back on when there is nothing to compare."""

_LEAVE_ONE_OUT_ROWS: Final = 50
_FOLDS: Final = 5
_ITERATIONS: Final = 5000

Inputs = npt.NDArray[np.object_] | npt.NDArray[np.float64]
"""Texts [N], or features [N, F]."""

Steps = Callable[[], tuple[object, ...]]
"""Makes the untrained scikit-learn steps that come before the regression."""


@dataclass(frozen=True)
class Labelled:
    """What a regression learns from.

    Attributes:
        inputs: Texts or features of the N rows.
        classes: int64 [N], positions among the task's labels.
        weights: [N], of mean 1.
        labels: Number of the task's labels, L.
    """

    inputs: Inputs
    classes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    labels: int

    def part(self, rows: npt.NDArray[np.bool_]) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.inputs[rows], self.classes[rows], self.weights[rows], self.labels)


@dataclass(frozen=True)
class Regression:
    """A fitted regression.

    Attributes:
        pipeline: The fitted steps; None where the rows have one label only.
        classes: Positions of the labels that occur in the rows, ascending, length K.
        labels: Number of the task's labels, L.
        rows: How many rows it was fitted on, N.
        c: The C it was fitted with.
    """

    pipeline: Pipeline | None
    classes: npt.NDArray[np.int64]
    labels: int
    rows: int
    c: float

    def probabilities(self, inputs: Inputs) -> npt.NDArray[np.float64]:
        """Probabilities [M, L]; labels that never occurred get 1 / (N + L) each, the others share the rest."""
        seen = np.ones((len(inputs), 1)) if self.pipeline is None else self.pipeline.predict_proba(inputs)  # [M, K]
        probabilities = np.full((len(inputs), self.labels), 1.0 / (self.rows + self.labels))
        rest = 1.0 - (self.labels - len(self.classes)) / (self.rows + self.labels)
        probabilities[:, self.classes] = seen * rest
        return probabilities

    def log_probabilities(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """The logarithms [M, L] of an answer."""
        return logarithms(self.probabilities(inputs))

    @property
    def coefficients(self) -> int:
        """Numbers of the regression itself, intercepts included."""
        if self.pipeline is None:
            return 0
        regression = self.pipeline[-1]
        return int(regression.coef_.size + regression.intercept_.size)


def fit_regression(labelled: Labelled, steps: Steps, c: RegularisationC) -> Regression:
    """Fit on all rows, deterministically; "cv" first chooses C by the mean log loss of rows that were left out.

    One row is left out at a time up to 50 rows, a fifth of each label's rows beyond. Only rows whose label has another
    row to learn from are counted, and where there are none, or the losses tie, C is the nearest to 1.
    """
    chosen = _chosen(labelled, steps) if c == "cv" else float(c)
    return _fit(labelled, steps, chosen)


def labelled_rows(trial: Trial, inputs: Inputs, classes: list[int], weights: npt.NDArray[np.float64]) -> Labelled:
    """The trial's rows with their inputs."""
    return Labelled(inputs, np.array(classes, dtype=np.int64), weights, len(trial.task.label_names))


def _fit(labelled: Labelled, steps: Steps, c: float) -> Regression:
    classes = np.unique(labelled.classes)
    pipeline = None
    if len(classes) > 1:
        pipeline = make_pipeline(*steps(), LogisticRegression(C=c, max_iter=_ITERATIONS))
        pipeline.fit(labelled.inputs, labelled.classes, logisticregression__sample_weight=labelled.weights)
    return Regression(pipeline, classes, labelled.labels, len(labelled.classes), c)


def _chosen(labelled: Labelled, steps: Steps) -> float:
    parts = list(_parts(labelled.classes))
    if not parts:
        return _DEFAULT
    losses = {c: sum(_loss(labelled, left_out, steps, c) for left_out in parts) for c in _CANDIDATES}
    return min(_CANDIDATES, key=lambda c: (round(losses[c], 9), abs(np.log(c))))


def _loss(labelled: Labelled, left_out: npt.NDArray[np.bool_], steps: Steps, c: float) -> float:
    """Weighted log loss of the left-out rows whose label the others have."""
    fitted = _fit(labelled.part(~left_out), steps, c)
    counted = labelled.part(left_out & np.isin(labelled.classes, fitted.classes))
    if not len(counted.classes):
        return 0.0
    scores = fitted.log_probabilities(counted.inputs)[np.arange(len(counted.classes)), counted.classes]
    return float(-(counted.weights * scores).sum())


def _parts(classes: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks [N] of the rows that are left out together; none where too little would remain to learn from."""
    rows = len(classes)
    if rows <= _LEAVE_ONE_OUT_ROWS:
        part = np.arange(rows)
    else:
        earlier = [int((classes[:row] == classes[row]).sum()) for row in range(rows)]
        part = np.array(earlier) % _FOLDS
    for number in range(int(part.max()) + 1):
        left_out = part == number
        remaining = classes[~left_out]
        if len(np.unique(remaining)) > 1 and np.isin(classes[left_out], remaining).any():
            yield left_out
