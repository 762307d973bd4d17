import pytest
from scipy.stats import binomtest

from petapter.evaluation.pairs import mcnemar_exact, wilson_interval
from petapter_schemas.errors import DataError


@pytest.mark.parametrize(("right", "rows"), [(0, 8), (3, 8), (8, 8), (1, 1), (585, 700)])
def test_wilson_interval_is_that_of_scipy(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    found = wilson_interval(right, rows)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (7, 2), (3, 3), (1, 12)])
def test_mcnemar_is_the_binomial_test_of_the_rows_that_differ(only_first: int, only_second: int) -> None:
    first = [True] * only_first + [False] * only_second + [True, False]
    second = [False] * only_first + [True] * only_second + [True, False]
    found = mcnemar_exact(first, second)
    apart = only_first + only_second
    expected = binomtest(only_first, apart).pvalue if apart else 1.0
    assert (found.first_only, found.second_only) == (only_first, only_second)
    assert found.p_value == pytest.approx(expected, abs=1e-12)


def test_rows_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="same rows"):
        mcnemar_exact([True], [True, False])
    with pytest.raises(DataError, match="one row at least"):
        wilson_interval(0, 0)
