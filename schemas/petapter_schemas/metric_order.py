"""Which metrics are better when they are lower, and when two figures with intervals differ by more than chance."""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Protocol

LOWER_IS_BETTER = frozenset({"aurc", "brier", "ece", "log_loss"})
"""Of the metrics that petapter measures; of any other, more counts as better."""

COMPARED_AT = 0.95

_SMALLEST = 1e-9


class WithInterval(Protocol):
    """A figure with its interval, of the given level."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def low(self) -> float:
        """The low end."""

    @property
    def high(self) -> float:
        """The high end."""

    @property
    def level(self) -> float:
        """Between 0 and 1."""


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric not in LOWER_IS_BETTER


def is_better(metric: str, one: WithInterval, other: WithInterval) -> bool:
    """Whether a figure of a metric is better than another one by more than chance explains.

    The interval of the difference at the level `COMPARED_AT` lies on one side of 0; it is made of the two intervals as
    if they were independent (MOVER: Zou and Donner 2008, doi:10.1002/sim.3095), scaled to that level as those of a
    normal distribution. Figures on the same rows rise and fall together, so their difference is surer than that: what
    this tells apart is apart, and what it does not may be.
    """
    if higher_is_better(metric):
        gap, near, far = one.value - other.value, one.value - one.low, other.high - other.value
    else:
        gap, near, far = other.value - one.value, one.high - one.value, other.value - other.low
    return gap - math.hypot(max(near, 0.0) * _scale(one.level), max(far, 0.0) * _scale(other.level)) > 0


@lru_cache
def _scale(level: float) -> float:
    """What an interval of a level is to be widened by."""
    return _quantile(COMPARED_AT) / max(_quantile(level), _SMALLEST)


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + min(level, 1 - _SMALLEST)) / 2)
