"""The probability below which a module gives no label, so that few texts get a wrong one.

What is promised: of texts like the labelled rows, at most `error_rate` are expected to get a wrong label; the others
get the right one or none. It is conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814, theorem 1) with the
loss "answered, and wrong", which only falls as the threshold rises; the same as answering where the conformal p-value
of "this answer is wrong" is at most `error_rate` (Jin and Candes 2022, arXiv 2210.01408). An error rate of 5 % needs 19
rows. A bound on the share of wrong answers among those given that holds with 90 % certainty (Geifman and El-Yaniv 2017,
arXiv 1705.08500) would need 45 sure rows without one error, out of reach of most few-shot tasks; the share seen and its
exact binomial bound are reported beside.

The promise is exact for a fixed model and fresh rows. With out-of-fold rows it is cross-conformal (Vovk 2015, arXiv
1208.0806): each row was scored by a model that did not see it, and the module is taken to be no worse than those.

With weights it is about texts among which the rows are as frequent as they weigh (Tibshirani et al. 2019, arXiv
1904.06019); a new text is taken to weigh as much as the heaviest row, so that the promise holds whichever it is.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from petapter.evaluation.arrays import Flags, Floats, checked_probabilities, checked_weights
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import CalibrationSpec

BOUND_LEVEL = 0.95

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it promises.

    Attributes:
        abstain_below: The module gives no label where its best one has a lower probability.
        error_rate: The share of all texts that may be expected to get a wrong label.
        smallest_error_rate: What the rows can promise at best: 1 / (n + 1) of n rows, more where weights differ.
        answered: Share of the out-of-fold rows that get a label.
        wrong_answers: Of those, the share that is wrong; None if no row gets a label.
        wrong_answers_bound: It is below this with 95 % certainty for a threshold chosen beforehand (Clopper and Pearson
            1934, one-sided); 1 if no row gets a label.
    """

    abstain_below: float
    error_rate: float
    smallest_error_rate: float
    answered: float
    wrong_answers: float | None
    wrong_answers_bound: float

    def added_to(self, calibration: CalibrationSpec | None) -> CalibrationSpec:
        """The calibration under which the probabilities were measured, with this threshold."""
        update = {"abstain_below": self.abstain_below, "abstain_error_rate": self.error_rate}
        return (calibration or CalibrationSpec()).model_copy(update=update)


def abstention_threshold(
    probabilities: npt.ArrayLike, correct: npt.ArrayLike, error_rate: float, *, weights: npt.ArrayLike | None = None
) -> Threshold:
    """The lowest threshold that keeps the promise of this file.

    With n rows, floor(error_rate * (n + 1)) - 1 of them may be answered wrongly; the threshold lies above the next
    wrong one, half way to the row after it. With weights, the wrong ones may weigh error_rate * (W + 1) - 1 where all
    rows weigh W and the heaviest 1.

    Args:
        probabilities: [N], of the best label of rows that the model was not trained on.
        correct: [N], whether that label is right.
        error_rate: The share of all texts that may get a wrong label.
        weights: [N], how frequent texts like each row are where the module will be used; all alike by default.

    Raises:
        DataError: There are no rows, or shapes or numbers cannot be used.
        InputError: The error rate is none, or smaller than so many rows can promise.
    """
    right = np.asarray(correct, dtype=np.bool_)
    if right.ndim != 1 or np.shape(probabilities) != right.shape:
        found = f"{list(np.shape(probabilities))} and {list(right.shape)}"
        raise DataError(f"expected one probability and one verdict per row, found shapes {found}")
    best = checked_probabilities(np.reshape(probabilities, (-1, 1)), rows=len(right))[:, 0].clip(max=1)
    shares = _shares(checked_weights(weights, len(best)))
    check_error_rate(error_rate, shares)
    below = _threshold(best, ~right, shares, error_rate * (shares.sum() + 1) - 1)
    answered = best >= below
    given, wrong = int(answered.sum()), int((answered & ~right).sum())
    return Threshold(
        abstain_below=below,
        error_rate=error_rate,
        smallest_error_rate=float(1 / (shares.sum() + 1)),
        answered=given / len(best),
        wrong_answers=wrong / given if given else None,
        wrong_answers_bound=float(beta.ppf(BOUND_LEVEL, wrong + 1, given - wrong)) if given > wrong else 1.0,
    )


def check_error_rate(error_rate: float, weights: npt.ArrayLike) -> None:
    """Refuse an error rate that rows of these weights [N] cannot promise, whatever their scores will be.

    Raises:
        InputError: It is no rate, or smaller than the rows can promise.
    """
    if not 0 < error_rate < 1:
        raise InputError(f"an error rate of {error_rate:g} is none: choose one between 0 and 1, such as 0.05")
    shares = _shares(np.asarray(weights, dtype=np.float64))
    rows, total = len(shares), float(shares.sum())
    if error_rate * (total + 1) - 1 < -_ROUNDING:
        needed = math.ceil((1 / error_rate - 1) * max(rows, 1) / max(total, 1) - _ROUNDING)
        raise InputError(
            f"an error rate of {error_rate:g} cannot be promised from {rows} rows: the smallest they can promise is "
            f"about {1 / (total + 1):.3g}; ask for that or more, or label {needed} rows"
        )


def _shares(weights: Floats) -> Floats:
    """Weights of which the largest is 1."""
    return weights / (np.max(weights, initial=0.0) or 1.0)


def _threshold(best: Floats, is_wrong: Flags, shares: Floats, allowed: float) -> float:
    """Above the surest wrong row with which the wrong ones weigh more than is allowed."""
    order = np.argsort(-best[is_wrong], kind="stable")
    wrong = best[is_wrong][order]
    within = int(np.searchsorted(np.cumsum(shares[is_wrong][order]), allowed + _ROUNDING, side="right"))
    if within >= len(wrong):
        return 0.0
    above = best[best > wrong[within]]
    if len(above):
        return float(wrong[within] + above.min()) / 2
    if wrong[within] >= 1:
        raise InputError("too many wrong rows have a probability of 1, so no threshold tells them: calibrate first")
    return float(wrong[within] + 1) / 2
