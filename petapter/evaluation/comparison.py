"""Tells whether one way to train is better than another: paired differences over rows, and over training samples."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from petapter.evaluation.arrays import Floats
from petapter.evaluation.intervals import LEVEL, RESAMPLES, percentile_interval, percentiles, resample
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import Interval

MOST_ENUMERATED = 6
"""With up to this many samples all 6^6 = 46,656 resamples are listed instead of drawn."""


@dataclass(frozen=True)
class Difference:
    """How much better a is than b on the same rows, and how sure that is."""

    mean: float
    interval: Interval
    rows: int


@dataclass(frozen=True)
class ClusteredDifference:
    """How much better a is than b over training samples and seeds.

    Attributes:
        mean: Over all samples and seeds.
        interval: Percentiles of resampled samples. Coarse with few of them: 5 samples have 126 different resamples, no
            end lies beyond the least or greatest mean of a sample, and of nominal 95 % intervals about 83 % cover the
            truth.
        t_interval: Student's over the means of the samples: wider, and right for few samples if those means are about
            normal. A claim wants this one off zero.
        sd_samples: Standard deviation of the means of the samples.
        sd_seeds: Standard deviation over the seeds within a sample, pooled; None with one seed.
        samples: How many training samples.
        seeds: How many seeds for each.
    """

    mean: float
    interval: Interval
    t_interval: Interval
    sd_samples: float
    sd_seeds: float | None
    samples: int
    seeds: int


def paired_difference(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> Difference:
    """Mean of a - b over the rows that both answered, with a bootstrap interval over rows.

    Args:
        correct_a: [N], whether a was right, or any figure per row.
        correct_b: [N], the same for b, in the same order.

    Raises:
        DataError: There are no rows, or the two are not of one length, or not numbers.
    """
    a, b = np.asarray(correct_a, dtype=np.float64), np.asarray(correct_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(f"expected one figure per row from both, found shapes {list(a.shape)} and {list(b.shape)}")
    if not len(a) or not (np.isfinite(a) & np.isfinite(b)).all():
        raise DataError("there are no rows to compare, or a figure is no number")
    differences = a - b
    resampled = resample(len(a), lambda counts: counts @ differences / len(a))
    return Difference(float(differences.mean()), percentile_interval(resampled), len(a))


def cluster_bootstrap(differences: npt.ArrayLike) -> ClusteredDifference:
    """Mean difference between two ways to train, with intervals over training samples.

    Runs that differ by the seed alone share their training rows, so 5 samples with 5 seeds are 5 independent draws and
    not 25: whole samples are resampled (Cameron, Gelbach and Miller 2008).

    Args:
        differences: [samples, seeds], a's figure less b's on the same sample, seed and test rows.

    Raises:
        DataError: There are fewer than two samples, or a difference is no number.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2 or values.shape[1] == 0:  # noqa: PLR2004 (two axes, two samples)
        raise DataError(f"expected differences [samples, seeds] of two samples or more, found {list(values.shape)}")
    if not np.isfinite(values).all():
        raise DataError("a difference is no number: every sample needs every seed, from both ways to train")
    means = values.mean(axis=1)
    samples, seeds = values.shape
    return ClusteredDifference(
        mean=float(means.mean()),
        interval=_percentile_interval(means),
        t_interval=_t_interval(means),
        sd_samples=float(means.std(ddof=1)),
        sd_seeds=float(np.sqrt(values.var(axis=1, ddof=1).mean())) if seeds > 1 else None,
        samples=samples,
        seeds=seeds,
    )


def _percentile_interval(means: Floats) -> Interval:
    samples = len(means)
    if samples <= MOST_ENUMERATED:
        picks = np.array(list(itertools.product(range(samples), repeat=samples)))
        how = f"all {len(picks)} resamples"
    else:
        picks = np.random.default_rng(0).integers(samples, size=(RESAMPLES, samples))
        how = f"{RESAMPLES} resamples"
    low, high = percentiles(means[picks].mean(axis=1))
    return Interval(low=low, high=high, level=LEVEL, method=f"bootstrap over {samples} training samples, {how}")


def _t_interval(means: Floats) -> Interval:
    samples = len(means)
    reach = float(student_t.ppf((1 + LEVEL) / 2, samples - 1) * means.std(ddof=1) / np.sqrt(samples))
    centre = float(means.mean())
    method = f"Student's t over the means of {samples} training samples"
    return Interval(low=centre - reach, high=centre + reach, level=LEVEL, method=method)
