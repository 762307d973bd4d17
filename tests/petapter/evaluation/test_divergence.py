import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from petapter.evaluation.divergence import between_parts, jensen_shannon, noise_of_one


def test_divergence_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet(np.ones(7), size=20), rng.dirichlet(np.ones(7), size=20)
    one[:, 2] = 0
    expected = jensenshannon(one, other, base=2, axis=1) ** 2
    assert jensen_shannon(one, other) == pytest.approx(expected, abs=1e-12)


def test_divergence_of_nothing_is_zero_or_one() -> None:
    nothing, some = np.zeros(3), np.array([0.5, 0.5, 0.0])
    assert float(jensen_shannon(nothing, nothing)) == 0
    assert float(jensen_shannon(nothing, some)) == float(jensen_shannon(some, nothing)) == 1


def test_parts_are_compared_with_all_other_rows() -> None:
    rows = np.eye(2)[[0, 0, 0, 1]]
    found = between_parts(rows, 1, 50, np.random.default_rng(0))
    with_the_odd_one = float(jensen_shannon(np.array([0.0, 1.0]), np.array([1.0, 0.0])))
    with_another = float(jensen_shannon(np.array([1.0, 0.0]), np.array([2 / 3, 1 / 3])))
    assert set(np.round(found, 9)) == {round(with_the_odd_one, 9), round(with_another, 9)}


def test_noise_tells_the_divergence_of_other_samples() -> None:
    rng = np.random.default_rng(0)
    noise = noise_of_one(np.eye(6)[rng.integers(6, size=400)], 300, rng)
    between = [
        jensen_shannon(*(np.eye(6)[rng.integers(6, size=size)].mean(axis=0) for size in (50, 150))) for _ in range(300)
    ]
    assert np.mean(between) == pytest.approx(noise * (1 / 50 + 1 / 150), rel=0.15)
