import itertools

import numpy as np
import pytest
from scipy import stats

from petapter.evaluation import cluster_bootstrap, paired_difference
from petapter_schemas.errors import DataError


def test_difference_over_rows_has_the_standard_error_of_paired_rows() -> None:
    random = np.random.default_rng(0)
    hard = random.random(400) < 0.3  # both fail here, so the pairs agree more than chance
    a, b = ~hard & (random.random(400) < 0.95), ~hard & (random.random(400) < 0.9)
    found = paired_difference(a, b)
    differences = a.astype(int) - b.astype(int)
    assert (found.mean, found.rows) == (pytest.approx(differences.mean()), 400)
    width = found.interval.high - found.interval.low
    assert width == pytest.approx(2 * 1.96 * differences.std() / 20, rel=0.07)
    unpaired = 2 * 1.96 * np.sqrt((a.var() + b.var()) / 400)
    assert width < 0.7 * unpaired


def test_interval_over_rows_is_that_of_scipy() -> None:
    random = np.random.default_rng(1)
    a, b = random.random(150), random.random(150)
    found = paired_difference(a, b).interval
    reference = stats.bootstrap(
        (a - b,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.005)


def test_modules_that_answer_alike_do_not_differ() -> None:
    found = paired_difference([True, False], [True, False])
    assert (found.mean, found.interval.low, found.interval.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([], [], "no rows"), ([1], [1, 0], "shapes"), ([[1]], [[1]], "shapes"), ([np.nan], [1], "no number")],
)
def test_rows_that_cannot_be_compared_are_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired_difference(a, b)


def test_intervals_over_samples_of_a_small_case() -> None:
    # two samples: resampled means are 1, 2, 2, 3; Student's t with one degree of freedom
    found = cluster_bootstrap([[0.0, 2.0], [3.0, 3.0]])
    assert (found.mean, found.samples, found.seeds) == (2.0, 2, 2)
    assert (found.sd_samples, found.sd_seeds) == (pytest.approx(np.sqrt(2)), pytest.approx(1.0))
    ends = np.quantile([1, 2, 2, 3], [0.025, 0.975])
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(ends))
    assert found.t_interval.high - 2 == pytest.approx(stats.t.ppf(0.975, 1) * 1.0)
    assert found.t_interval.low == pytest.approx(4 - found.t_interval.high)


def test_t_interval_is_that_of_scipy() -> None:
    means = np.random.default_rng(0).normal(size=5)
    found = cluster_bootstrap(means[:, None]).t_interval
    reference = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_seeds_of_one_sample_are_no_further_draws() -> None:
    by_sample = np.random.default_rng(0).normal(size=(5, 1))
    once, five_times = cluster_bootstrap(by_sample), cluster_bootstrap(np.tile(by_sample, 5))
    assert once.interval == five_times.interval
    assert once.t_interval == five_times.t_interval
    assert (once.sd_seeds, five_times.sd_seeds) == (None, pytest.approx(0))


def test_few_samples_are_resampled_in_every_way() -> None:
    values = np.random.default_rng(0).normal(size=(3, 1))
    means = [np.mean(picks) for picks in itertools.product(values[:, 0], repeat=3)]
    found = cluster_bootstrap(values).interval
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert found.method == "bootstrap over 3 training samples, all 27 resamples"


def test_many_samples_agree_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1))
    found = cluster_bootstrap(values).interval
    reference = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.03)
    assert found.method == "bootstrap over 40 training samples, 2000 resamples"


def test_five_samples_cover_as_often_as_stated() -> None:
    """Percentiles of 5 samples cover 83 % and not 95 %; Student's t keeps its 95 %."""
    random = np.random.default_rng(0)
    percentile = student = 0
    for _ in range(600):
        found = cluster_bootstrap(random.normal(size=(5, 1)))
        percentile += found.interval.low <= 0 <= found.interval.high
        student += found.t_interval.low <= 0 <= found.t_interval.high
    assert percentile / 600 == pytest.approx(0.83, abs=0.04)
    assert student / 600 == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(
    ("differences", "message"),
    [([[1.0, 2.0]], "two samples or more"), ([1.0, 2.0], "samples, seeds"), ([[1.0], [np.nan]], "every seed")],
)
def test_samples_that_cannot_be_compared_are_refused(differences: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cluster_bootstrap(differences)
