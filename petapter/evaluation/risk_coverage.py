"""Area under the risk-coverage curve, and what a module's own threshold gives."""

import numpy as np

from petapter.evaluation.arrays import Floats
from petapter.evaluation.intervals import Figure, percentile_interval, resample
from petapter.evaluation.reliability import ConfidenceRanking


def area_under_risk_coverage(ranking: ConfidenceRanking) -> Figure:
    """The share of wrong answers among the k most confident rows, averaged over k = 1 to N: lower is better.

    It says whether the module knows when it is right, whatever its accuracy and calibration: answering only the
    surest rows should leave few errors (Geifman and El-Yaniv 2017, arXiv 1705.08500; the area is named in Geifman et
    al. 2018, arXiv 1805.08206). Equally confident rows are in no order: it is the mean over all of theirs.
    """
    rows = len(ranking.order)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, rows + 1))])
    value = _areas(ranking, np.ones((1, rows)), harmonic)[0]
    resampled = resample(rows, lambda counts: _areas(ranking, counts, harmonic))
    return Figure("aurc", float(value), percentile_interval(resampled))


def threshold_figures(ranking: ConfidenceRanking, abstain_below: float) -> list[Figure]:
    """Coverage, the share of rows that get an answer, and selective accuracy, the share of those that is right.

    Selective accuracy is left out where no row gets an answer.
    """
    rows = len(ranking.order)
    answered = (ranking.confidence >= abstain_below).astype(np.float64)
    columns = np.stack([answered, answered * ranking.correct], axis=1)  # [N, 2]
    kept, right = columns.sum(axis=0)
    resampled = resample(rows, lambda counts: counts @ columns)  # [R, 2]
    figures = [Figure("coverage", float(kept / rows), percentile_interval(resampled[:, 0] / rows))]
    if kept:
        ratios = resampled[:, 1] / np.where(resampled[:, 0] > 0, resampled[:, 0], np.nan)
        figures.append(Figure("selective_accuracy", float(right / kept), percentile_interval(ratios)))
    return figures


def _areas(ranking: ConfidenceRanking, counts: Floats, harmonic: Floats) -> Floats:
    """The area [R] of rows that count `counts` [R, N].

    A group of m rows with e errors after K rows with E errors adds the sum over j = 1..m of (E + e j / m) / (K + j),
    which is (E - e K / m) (H(K + m) - H(K)) + e with the harmonic numbers H.
    """
    size = ranking.grouped(counts)[:, ::-1]  # [R, G], from the most confident
    errors = ranking.grouped(counts * (1 - ranking.correct))[:, ::-1]
    until = np.cumsum(size, axis=1)
    errors_before = np.cumsum(errors, axis=1) - errors
    rate = errors / np.maximum(size, 1)
    terms = np.diff(harmonic[until.astype(np.int64)], axis=1, prepend=0.0)
    areas = (errors_before - rate * (until - size)) * terms + errors
    return np.asarray(areas.sum(axis=1) / until[0, -1], dtype=np.float64)
