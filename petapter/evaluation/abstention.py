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
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from petapter.evaluation.arrays import Floats, checked_probabilities
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
        smallest_error_rate: What n rows can promise at best, 1 / (n + 1).
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


def abstention_threshold(probabilities: npt.ArrayLike, correct: npt.ArrayLike, error_rate: float) -> Threshold:
    """The lowest threshold that keeps the promise of this file.

    With n rows, floor(error_rate * (n + 1)) - 1 of them may be answered wrongly; the threshold lies above the next
    wrong one, half way to the row after it.

    Args:
        probabilities: [N], of the best label of rows that the model was not trained on.
        correct: [N], whether that label is right.
        error_rate: The share of all texts that may get a wrong label.

    Raises:
        DataError: There are no rows, or shapes or numbers cannot be used.
        InputError: The error rate is none, or smaller than so many rows can promise.
    """
    right = np.asarray(correct, dtype=np.bool_)
    if right.ndim != 1 or np.shape(probabilities) != right.shape:
        found = f"{list(np.shape(probabilities))} and {list(right.shape)}"
        raise DataError(f"expected one probability and one verdict per row, found shapes {found}")
    best = checked_probabilities(np.reshape(probabilities, (-1, 1)), rows=len(right))[:, 0].clip(max=1)
    allowed = _allowed_errors(len(best), error_rate)
    below = _threshold(best, np.sort(best[~right])[::-1], allowed)
    answered = best >= below
    given, wrong = int(answered.sum()), int((answered & ~right).sum())
    return Threshold(
        abstain_below=below,
        error_rate=error_rate,
        smallest_error_rate=1 / (len(best) + 1),
        answered=given / len(best),
        wrong_answers=wrong / given if given else None,
        wrong_answers_bound=float(beta.ppf(BOUND_LEVEL, wrong + 1, given - wrong)) if given > wrong else 1.0,
    )


def _allowed_errors(rows: int, error_rate: float) -> int:
    if not 0 < error_rate < 1:
        raise InputError(f"an error rate of {error_rate:g} is none: choose one between 0 and 1, such as 0.05")
    if (allowed := math.floor(error_rate * (rows + 1) + _ROUNDING) - 1) < 0:
        needed = math.ceil(1 / error_rate - _ROUNDING) - 1
        raise InputError(
            f"an error rate of {error_rate:g} cannot be promised from {rows} rows: the smallest they can promise is "
            f"about 1/(n+1) = {1 / (rows + 1):.3g}; ask for that or more, or label {needed} rows"
        )
    return allowed


def _threshold(best: Floats, wrong: Floats, allowed: int) -> float:
    """Above the wrong row that is one too many; `wrong` is in falling order."""
    if len(wrong) <= allowed:
        return 0.0
    above = best[best > wrong[allowed]]
    if len(above):
        return float(wrong[allowed] + above.min()) / 2
    if wrong[allowed] >= 1:
        raise InputError("too many wrong rows have a probability of 1, so no threshold tells them: calibrate first")
    return float(wrong[allowed] + 1) / 2
