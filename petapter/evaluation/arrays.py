"""The arrays that measurements take, checked once: shapes, finite numbers, rows that are distributions."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from petapter_schemas.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_SUM_TOLERANCE = 1e-3


def checked_probabilities(values: npt.ArrayLike, *, rows: int) -> Floats:
    """Probabilities [N, L] of which each is between 0 and 1.

    Raises:
        DataError: There are no rows, the shape is another, or a number is no probability.
    """
    probabilities = np.asarray(values, dtype=np.float64)
    if rows == 0:
        raise DataError("there are no rows to evaluate on")
    if probabilities.ndim != 2 or len(probabilities) != rows or probabilities.shape[1] == 0:  # noqa: PLR2004 (axes)
        raise DataError(f"expected probabilities of shape [{rows}, labels], found {list(probabilities.shape)}")
    # written so that NaN fails too
    if not ((probabilities >= 0) & (probabilities <= 1 + _SUM_TOLERANCE)).all():
        raise DataError("a probability is not between 0 and 1: pass softmax or sigmoid outputs, not logits")
    return probabilities


def checked_distributions(values: npt.ArrayLike, *, rows: int) -> Floats:
    """Probabilities [N, L] of which each row sums to one.

    Raises:
        DataError: As `checked_probabilities`, or a row does not sum to one.
    """
    probabilities = checked_probabilities(values, rows=rows)
    if (np.abs(probabilities.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise DataError("the probabilities of a row do not sum to 1: pass softmax outputs over all labels")
    return probabilities


def checked_weights(weights: npt.ArrayLike | None, rows: int) -> Floats:
    """How much each row counts, [N]; 1 where nothing was given.

    Raises:
        DataError: They are not one positive number for each row.
    """
    w = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (rows,) or not (np.isfinite(w) & (w > 0)).all():
        raise DataError(f"weights must be {rows} positive numbers, one per row")
    return w


def label_positions(labels: Sequence[str], label_names: Sequence[str]) -> Ints:
    """The position [N] of each label among the names.

    Raises:
        DataError: A label is none of them.
    """
    position = {name: index for index, name in enumerate(label_names)}
    if unknown := next((label for label in labels if label not in position), None):
        raise DataError(f"label {unknown!r} is not one of the module's ({', '.join(label_names[:5])}): correct the row")
    return np.array([position[label] for label in labels], dtype=np.int64)
