"""Figures with an interval: resampled rows as counts, and the percentiles of what they give (Efron 1979)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from petapter.evaluation.arrays import Floats
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Interval, ReliabilityBin

LEVEL = 0.95
RESAMPLES = 2000

_CELLS_PER_PIECE = 100_000


@dataclass(frozen=True)
class Figure:
    """A measured value before it is tied to its evaluation set.

    Attributes:
        metric: Its name in the manifest.
        value: On all rows.
        interval: How sure it is.
        reliability: Its bins, for `ece` alone.
    """

    metric: str
    value: float
    interval: Interval
    reliability: tuple[ReliabilityBin, ...] = ()

    def on(self, rows: EvaluationSet, seeds: Sequence[int]) -> EvaluationSpec:
        """The figure as the manifest keeps it."""
        return EvaluationSpec(
            metric=self.metric,
            value=self.value,
            interval=self.interval,
            evaluation_set=rows,
            seeds=tuple(seeds),
            reliability=self.reliability,
        )


def row_counts(rows: int) -> Iterator[Floats]:
    """How often each row is drawn in each of the 2,000 resamples, [R, N] in pieces that fit a laptop's cache.

    The same rows are drawn every time, so figures that are computed apart are comparable.
    """
    random = np.random.default_rng(0)
    for resamples in pieces(rows):
        drawn = random.integers(rows, size=(resamples, rows)) + rows * np.arange(resamples)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=resamples * rows)
        yield counts.reshape(resamples, rows).astype(np.float64)


def pieces(rows: int, resamples: int = RESAMPLES) -> list[int]:
    """How many of the resamples of so many rows to hold in memory at a time."""
    size = max(1, min(resamples, _CELLS_PER_PIECE // rows))
    return [min(size, resamples - start) for start in range(0, resamples, size)]


def resample(rows: int, statistic: Callable[[Floats], Floats]) -> Floats:
    """A statistic of every resample: it is given counts [r, N] and returns [r, ...]; the result is [R, ...]."""
    return np.concatenate([statistic(counts) for counts in row_counts(rows)])


def mean_figures(columns: dict[str, Floats]) -> list[Figure]:
    """Figures that are means over rows: each column [N] by the name of its metric."""
    values = np.stack(list(columns.values()), axis=1)  # [N, C]
    rows = len(values)
    resampled = resample(rows, lambda counts: counts @ values / rows)  # [R, C]
    means = values.mean(axis=0)
    return [
        Figure(name, float(means[column]), percentile_interval(resampled[:, column]))
        for column, name in enumerate(columns)
    ]


def percentile_interval(values: Floats) -> Interval:
    """The central 95 % of resampled values [R]; resamples without a value (NaN) do not count."""
    low, high = percentiles(values)
    return Interval(low=low, high=high, level=LEVEL, method=f"bootstrap over rows, {RESAMPLES} resamples")


def percentiles(values: Floats) -> tuple[float, float]:
    """The ends of the central 95 % of the values [R] that are numbers."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
