import numpy as np
import pytest

from petapter.evaluation.intervals import RESAMPLES, mean_figures, pieces, resample, row_counts


@pytest.mark.parametrize("rows", [1, 7, 999, 100_001])
def test_pieces_make_up_all_resamples(rows: int) -> None:
    assert sum(pieces(rows)) == RESAMPLES
    assert min(pieces(rows)) >= 1


def test_each_resample_has_as_many_rows_as_there_were() -> None:
    counts = np.concatenate(list(row_counts(300)))
    assert counts.shape == (RESAMPLES, 300)
    assert set(counts.sum(axis=1).tolist()) == {300}


def test_rows_are_drawn_alike_and_independently() -> None:
    # a multinomial count has mean 1 and variance 1 - 1 / n
    counts = np.concatenate(list(row_counts(50)))
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=0.12)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.01)


def test_resampled_means_spread_like_a_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=200)
    means = resample(200, lambda counts: counts @ values / 200)
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.06)


def test_figures_of_columns_keep_their_names() -> None:
    one, other = mean_figures({"one": np.array([0.0, 1.0]), "other": np.array([3.0, 3.0])})
    assert (one.metric, one.value, other.metric, other.value) == ("one", 0.5, "other", 3.0)
    assert (other.interval.low, other.interval.high) == (3.0, 3.0)
