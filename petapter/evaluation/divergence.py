"""How far apart two distributions over the same bins are, and how far random parts of one sample are by chance."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_AT_A_TIME = 100


def jensen_shannon(one: Numbers, other: Numbers) -> Numbers:
    """Jensen-Shannon divergence in bits (Lin 1991), 0 to 1, along the last axis; shares are scaled to add up to 1.

    Of two that are all zeros it is 0, of one that is 1.
    """
    one, other = _scaled(one), _scaled(other)
    middle = (one + other) / 2
    divergence: Numbers = (_entropy(middle) - (_entropy(one) + _entropy(other)) / 2).clip(0, 1)
    one_is_empty, other_is_empty = ~one.any(axis=-1), ~other.any(axis=-1)
    return np.where(one_is_empty | other_is_empty, np.where(one_is_empty & other_is_empty, 0.0, 1.0), divergence)


def between_parts(rows: Numbers, small: int, splits: int, rng: np.random.Generator) -> Numbers:
    """Divergences between the means of `small` random rows of [N, bins] and of all others, one for each split."""
    count, total = len(rows), rows.sum(axis=0)
    found = []
    for begin in range(0, splits, _AT_A_TIME):
        drawn = np.zeros((min(_AT_A_TIME, splits - begin), count))
        for split in drawn:
            split[rng.choice(count, small, replace=False, shuffle=False)] = 1
        sums = drawn @ rows
        found.append(jensen_shannon(sums / small, (total - sums) / (count - small)))
    return np.concatenate(found)


def noise_of_one(rows: Numbers, splits: int, rng: np.random.Generator) -> float:
    """Noise of a mean of n rows, times n: divergences by chance are this times (1/m + 1/n), of samples of m and n."""
    half = len(rows) // 2
    return float(between_parts(rows, half, splits, rng).mean()) / (1 / half + 1 / (len(rows) - half))


def _scaled(shares: Numbers) -> Numbers:
    total = shares.sum(axis=-1, keepdims=True)
    scaled: Numbers = np.divide(shares, total, out=np.zeros_like(shares, dtype=float), where=total > 0)
    return scaled


def _entropy(shares: Numbers) -> Numbers:
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy: Numbers = -(shares * logs).sum(axis=-1)
    return entropy
