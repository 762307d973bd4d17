"""Expected calibration error: how far the probability of the given label is from how often it is right."""

from dataclasses import dataclass

import numpy as np

from petapter.evaluation.arrays import Flags, Floats, Ints
from petapter.evaluation.intervals import LEVEL, RESAMPLES, Figure, percentiles, pieces, resample
from petapter_schemas.manifest import Interval, ReliabilityBin

BINS = 15
ROWS_PER_BIN = 10
CALIBRATED_DRAWS = 500  # for one quantile, and each costs as much as a resample

_METHOD = f"bootstrap over rows, {RESAMPLES} resamples, less its bias; from 0 where perfect calibration is not rejected"


@dataclass(frozen=True)
class ConfidenceRanking:
    """Rows from the least to the most confident.

    Attributes:
        order: The rows in that order, [N].
        confidence: Probability of the given label, [N], ascending.
        correct: 1 where that label is right, [N], in the same order.
        starts: Where each group of equally confident rows begins, [G]: what is computed by group does not depend on
            the order in which equally confident rows happen to stand.
    """

    order: Ints
    confidence: Floats
    correct: Floats
    starts: Ints

    @classmethod
    def of(cls, confidence: Floats, correct: Flags) -> "ConfidenceRanking":
        """Rank rows by their confidence [N]."""
        order = np.argsort(confidence, kind="stable")
        ascending = confidence[order]
        starts = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
        return cls(order, ascending, correct[order].astype(np.float64), starts)

    def grouped(self, values: Floats) -> Floats:
        """Sums [..., G] over equally confident rows of values [..., N] in ranked order."""
        if len(self.starts) == values.shape[-1]:
            return values
        return np.add.reduceat(values, self.starts, axis=-1)


def bin_count(rows: int) -> int:
    """15 bins, or fewer where a bin would have fewer than 10 rows."""
    return max(1, min(BINS, rows // ROWS_PER_BIN))


def expected_calibration_error(ranking: ConfidenceRanking) -> Figure:
    """The mean distance between confidence and accuracy over bins that hold equally many rows each.

    Bins are cut at equal shares of the rows ordered by confidence, 15 of them and fewer below 150 rows (Nguyen and
    O'Connor 2015, arXiv 1508.05154; Nixon et al. 2019, arXiv 1904.01685); a group of equally confident rows across a
    cut counts on both sides in proportion. The value is too high on few rows, because chance alone moves each bin's
    accuracy: a perfectly calibrated module shows about 0.1 on 50 to 200 rows and 0.04 on 1,000 (Roelofs et al. 2020,
    arXiv 2012.08668). The interval corrects for that: its ends are bootstrap percentiles less the bias that the
    bootstrap sees, and its low end is 0 where the value is within what 95 % of perfectly calibrated modules with these
    confidences would show (Broecker and Smith 2007, "Increasing the reliability of reliability diagrams"). In
    simulations of 50 to 600 rows it covered the true error in 83 to 97 % of draws, plain percentiles in 0 to 93 %.
    """
    bins, rows = bin_count(len(ranking.order)), len(ranking.order)
    gap = ranking.correct - ranking.confidence
    value = float(_errors(ranking, np.ones((1, rows)), gap, bins)[0])
    resampled = resample(rows, lambda counts: _errors(ranking, counts, gap, bins))
    low, high = percentiles(resampled)
    bias = float(resampled.mean()) - value
    rejected = value > np.quantile(_errors_when_calibrated(ranking, bins), LEVEL)
    low = min(max(low - 2 * bias, 0.0), value) if rejected else 0.0
    interval = Interval(low=low, high=max(high - bias, value), level=LEVEL, method=_METHOD)
    return Figure("ece", value, interval, _reliability(ranking, bins))


def _errors(ranking: ConfidenceRanking, counts: Floats, gap: Floats, bins: int) -> Floats:
    """The error [R] of rows that count `counts` [R, N] or [1, N] and are off by `gap` [N] or [R, N]."""
    mass = _cumulated(ranking.grouped(counts))  # [R, G + 1]
    off = _cumulated(ranking.grouped(counts * gap))
    rows = mass[0, -1]
    mass = np.broadcast_to(mass, off.shape)
    cuts = np.linspace(0, rows, bins + 1)
    at_cuts = np.stack([np.interp(cuts, m, o) for m, o in zip(mass, off, strict=True)])  # [R, bins + 1]
    return np.asarray(np.abs(np.diff(at_cuts, axis=1)).sum(axis=1) / rows, dtype=np.float64)


def _errors_when_calibrated(ranking: ConfidenceRanking, bins: int) -> Floats:
    """The errors [D] of modules with these confidences of which each is right as often as it says."""
    random = np.random.default_rng(1)
    confidence = ranking.confidence
    rows = len(confidence)
    once = np.ones((1, rows))
    drawn = ((random.random((size, rows)) < confidence) - confidence for size in pieces(rows, CALIBRATED_DRAWS))
    return np.concatenate([_errors(ranking, once, gap, bins) for gap in drawn])


def _reliability(ranking: ConfidenceRanking, bins: int) -> tuple[ReliabilityBin, ...]:
    mass = _cumulated(ranking.grouped(np.ones_like(ranking.confidence)))
    cuts = np.linspace(0, mass[-1], bins + 1)
    confidence, accuracy = (
        np.diff(np.interp(cuts, mass, _cumulated(ranking.grouped(values)))) * bins / mass[-1]
        for values in (ranking.confidence, ranking.correct)
    )
    # clipped: a sum of differences may miss 1 by a rounding
    pairs = zip(confidence.clip(0, 1).tolist(), accuracy.clip(0, 1).tolist(), strict=True)
    return tuple(ReliabilityBin(confidence=says, accuracy=is_right) for says, is_right in pairs)


def _cumulated(values: Floats) -> Floats:
    """Running sums [..., G + 1] that begin at 0."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
