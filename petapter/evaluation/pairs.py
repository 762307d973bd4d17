"""Few rows: an interval for a share of them, and a test of whether two answered them differently well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from petapter.evaluation.intervals import LEVEL
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import Interval

_Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test of two that answered the same rows.

    Attributes:
        first_only: Rows that the first alone has right.
        second_only: Rows that the second alone has right.
        p_value: How often chance alone parts them so far or further, where neither is better.
    """

    first_only: int
    second_only: int
    p_value: float


def wilson_interval(right: int, rows: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927); unlike resampled rows it has a width where all are right.

    Raises:
        DataError: There are no rows, or more are right than there are.
    """
    if not 0 <= right <= rows or not rows:
        raise DataError(f"{right} of {rows} rows cannot be right: give one row at least")
    share, spread = right / rows, _Z**2 / rows
    centre = (share + spread / 2) / (1 + spread)
    reach = _Z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    low = 0.0 if right == 0 else max(0.0, centre - reach)
    high = 1.0 if right == rows else min(1.0, centre + reach)
    return Interval(low=low, high=high, level=LEVEL, method="Wilson")


def mcnemar_exact(first_right: Sequence[bool], second_right: Sequence[bool]) -> PairedTest:
    """Whether two are differently often right on the same rows (McNemar 1947), by the binomial distribution itself.

    Raises:
        DataError: There are no rows, or not as many from both.
    """
    if not first_right or len(first_right) != len(second_right):
        raise DataError(f"expected the same rows from both, found {len(first_right)} and {len(second_right)}")
    first_only = sum(a and not b for a, b in zip(first_right, second_right, strict=True))
    second_only = sum(b and not a for a, b in zip(first_right, second_right, strict=True))
    apart = first_only + second_only
    tail = sum(math.comb(apart, k) for k in range(min(first_only, second_only) + 1))
    return PairedTest(first_only, second_only, min(1.0, 2 * tail / 2**apart))
