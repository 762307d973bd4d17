"""How sure a mean of few values is."""

from collections.abc import Sequence
from math import nan
from statistics import mean, stdev

from scipy.stats import t


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half of its 95 % t interval, not-a-number for a single value."""
    count = len(values)
    half = float(t.ppf(0.975, count - 1)) * stdev(values) / count**0.5 if count > 1 else nan
    return mean(values), half
