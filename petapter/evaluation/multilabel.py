"""Figures and thresholds where a row may have several labels, or none."""

import numpy as np
import numpy.typing as npt

from petapter.evaluation.arrays import Flags, Floats, checked_probabilities
from petapter.evaluation.intervals import Figure, mean_figures, percentile_interval, resample
from petapter_schemas.errors import DataError

DEFAULT_THRESHOLD = 0.5

THRESHOLD_PRIOR_ROWS = 10
"""A fitted threshold counts as much as 0.5 does when its label has this many rows with it (or without, if fewer)."""


def evaluate_multilabel(
    probabilities: npt.ArrayLike, gold: npt.ArrayLike, thresholds: npt.ArrayLike
) -> tuple[Figure, ...]:
    """Measure labels that are predicted where their probability reaches their threshold.

    `micro_f1` over all pairs of row and label; `macro_f1`, the mean over the labels that occur among the rows or the
    predictions; `subset_accuracy`, the share of rows of which every label is right; `brier`, the mean squared error
    over rows and labels; `no_label`, the share of rows without a predicted label. Intervals are bootstraps over rows.

    Args:
        probabilities: [N, L], independent of each other.
        gold: bool [N, L].
        thresholds: [L].

    Raises:
        DataError: There are no rows, or shapes or numbers do not fit.
    """
    scores, truth = _checked(probabilities, gold)
    limits = np.asarray(thresholds, dtype=np.float64)
    if limits.shape != scores.shape[1:] or not np.isfinite(limits).all():
        raise DataError(f"expected {scores.shape[1]} thresholds, one per label, found shape {list(limits.shape)}")
    predicted = scores >= limits
    means = {
        "subset_accuracy": (predicted == truth).all(axis=1).astype(np.float64),
        "brier": ((scores - truth) ** 2).mean(axis=1),
        "no_label": (~predicted.any(axis=1)).astype(np.float64),
    }
    return (*_f1_figures(predicted, truth), *mean_figures(means))


def fit_thresholds(probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> Floats:
    """Per-label thresholds [L] for F1, drawn towards 0.5 where a label has few rows.

    The threshold of the best F1 on a handful of rows is mostly chance (Lipton et al. 2014, arXiv 1402.1892, show that
    it can end by predicting a label everywhere). So it is averaged with 0.5, which is right for calibrated
    probabilities and equal costs, with the weight m / (m + 10) of m rows with the label, or without it if those are
    fewer. Of equally good thresholds the one nearest 0.5 is taken. A label that no row or every row has keeps 0.5.

    Args:
        probabilities: [N, L], of rows that the model was not trained on.
        gold: bool [N, L].

    Raises:
        DataError: There are no rows, or shapes or numbers do not fit.
    """
    scores, truth = _checked(probabilities, gold)
    return np.array([_fit_threshold(scores[:, label], truth[:, label]) for label in range(scores.shape[1])])


def _fit_threshold(scores: Floats, truth: Flags) -> float:
    evidence = int(min(truth.sum(), (~truth).sum()))
    if evidence == 0:
        return DEFAULT_THRESHOLD
    ascending, group = np.unique(scores, return_inverse=True)
    cuts = np.concatenate([[ascending[0] / 2], (ascending[1:] + ascending[:-1]) / 2])
    if (inside := int(np.searchsorted(ascending, DEFAULT_THRESHOLD))) < len(cuts):
        cuts[inside] = DEFAULT_THRESHOLD  # 0.5 itself stands for the gap it lies in
    hits = np.cumsum(np.bincount(group, weights=truth)[::-1])[::-1]  # at or above each cut
    predicted = np.cumsum(np.bincount(group)[::-1])[::-1]
    f1 = 2 * hits / (predicted + truth.sum())
    best = cuts[f1 >= f1.max() - 1e-12]
    nearest = float(best[np.abs(best - DEFAULT_THRESHOLD).argmin()])
    weight = evidence / (evidence + THRESHOLD_PRIOR_ROWS)
    return weight * nearest + (1 - weight) * DEFAULT_THRESHOLD


def _f1_figures(predicted: Flags, truth: Flags) -> list[Figure]:
    labels = truth.shape[1]
    columns = np.concatenate([predicted & truth, predicted.astype(np.int64) + truth], axis=1).astype(np.float64)
    totals = columns.sum(axis=0, keepdims=True)  # hits, then predicted plus gold: [1, 2 L]
    resampled = resample(len(columns), lambda counts: counts @ columns)  # [R, 2 L]
    return [
        Figure(name, float(f1(totals[:, :labels], totals[:, labels:])[0]), percentile_interval(values))
        for name, f1, values in (
            ("micro_f1", _micro_f1, _micro_f1(resampled[:, :labels], resampled[:, labels:])),
            ("macro_f1", _macro_f1, _macro_f1(resampled[:, :labels], resampled[:, labels:])),
        )
    ]


def _micro_f1(hits: Floats, both: Floats) -> Floats:
    """F1 [R] of counts [R, L]; 0 where nothing was predicted and nothing was to be."""
    return np.asarray(2 * hits.sum(axis=1) / np.maximum(both.sum(axis=1), 1), dtype=np.float64)


def _macro_f1(hits: Floats, both: Floats) -> Floats:
    occurs = both > 0
    f1 = 2 * hits / np.maximum(both, 1)
    return np.asarray(f1.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1), dtype=np.float64)


def _checked(probabilities: npt.ArrayLike, gold: npt.ArrayLike) -> tuple[Floats, Flags]:
    truth = np.asarray(gold, dtype=np.bool_)
    scores = checked_probabilities(probabilities, rows=len(np.atleast_1d(truth)))
    if scores.shape != truth.shape:
        raise DataError(f"expected probabilities and labels of one shape, found {scores.shape} and {truth.shape}")
    return scores, truth
