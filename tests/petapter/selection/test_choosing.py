"""The score of a choice has paid for the search: the best of many coins is worth a coin."""

import numpy as np
import pytest

from petapter.selection import choose
from petapter_schemas.errors import DataError

ROWS = 60


def coins(seed: int, candidates: int, rows: int = ROWS) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Candidates that guess, with the loss of a guess that is sure of itself by 0.7."""
    right = np.random.default_rng(seed).random((candidates, rows)) < 0.5
    losses = np.where(right, -np.log(0.7), -np.log(0.3))
    return [f"coin {number}" for number in range(candidates)], losses, right


def test_the_best_of_many_coins_is_worth_a_coin() -> None:
    choices = [choose(*coins(seed, 40)) for seed in range(20)]
    assert np.mean([choice.naive_accuracy for choice in choices]) > 0.6
    assert np.mean([choice.accuracy for choice in choices]) == pytest.approx(0.5, abs=0.02)
    assert sum(choice.interval.low <= 0.5 <= choice.interval.high for choice in choices) >= 19


def test_one_candidate_is_worth_what_it_shows() -> None:
    choice = choose(*coins(3, 1))
    assert choice.accuracy == pytest.approx(choice.naive_accuracy, abs=0.01)
    assert choice.stability == 1
    assert choice.verdict == "'coin 0' was the only one"


def test_a_clear_winner_is_told_apart() -> None:
    names, losses, right = coins(0, 3)
    losses[1], right[1] = 0.05, True
    choice = choose(names, losses, right)
    assert choice.chosen == 1
    assert not choice.indistinguishable
    assert choice.verdict == "'coin 1' is better than the 2 others"
    assert choice.accuracy == 1
    assert [standing.is_distinguishable for standing in choice.standings] == [True, False, True]


def test_candidates_that_may_be_as_good_are_named() -> None:
    names, losses, right = coins(0, 3)
    losses[2] = losses[0] + 0.01 * np.random.default_rng(1).standard_normal(ROWS)
    losses[1], right[2] = 5.0, right[0]
    choice = choose(names, losses, right)
    assert set(choice.indistinguishable) == {names[0], names[2]} - {names[choice.chosen]}
    assert "not distinguishable from 1 of 2 others" in choice.verdict


def test_winner_that_was_left_without_more_rows_is_measured_on_all_of_them() -> None:
    names, losses, right = coins(0, 2)
    half = range(ROWS // 2)
    losses[0], losses[1, : ROWS // 2] = 0.1, 5.0  # the first is better where both can be compared
    right[0] = np.arange(ROWS) >= ROWS // 2
    losses[1, ROWS // 2 :] = np.nan  # nothing is known of the second there
    choice = choose(names, losses, right, [range(ROWS), half])
    assert choice.chosen == 0
    assert choice.naive_accuracy == 0.5
    assert choice.accuracy == pytest.approx(0.5, abs=0.02)
    assert choice.standings[0].accuracy == 0
    losses[0, ROWS // 2 :] = 9.0  # what it loses where the other cannot be compared chooses nothing
    assert choose(names, losses, right, [range(ROWS), half]) == choice


def test_the_best_of_many_coins_is_worth_a_coin_though_most_were_left_without_half_of_the_rows() -> None:
    half = range(ROWS // 2)
    choices = [choose(*coins(seed, 12), [*([range(ROWS)] * 4), *([half] * 8)]) for seed in range(40)]
    assert np.mean([choice.naive_accuracy for choice in choices]) > 0.56
    assert np.mean([choice.accuracy for choice in choices]) == pytest.approx(0.5, abs=0.025)
    assert sum(choice.interval.low <= 0.5 <= choice.interval.high for choice in choices) >= 38


def test_all_rows_make_a_narrower_interval_than_those_that_all_were_left_without() -> None:
    names, losses, right = coins(0, 2)
    losses[1] += 3.0
    half = range(ROWS // 2)
    every, part = choose(names, losses, right, [range(ROWS), half]), choose(names, losses[:, half], right[:, half])
    assert every.interval.high - every.interval.low < part.interval.high - part.interval.low


def test_eight_rows_are_enough_and_seven_are_not() -> None:
    choose(*coins(0, 4, rows=8))
    with pytest.raises(DataError, match="8 labelled rows or more, and there are 7"):
        choose(*coins(0, 4, rows=7))
    with pytest.raises(DataError, match="8 labelled rows or more, and there are 7"):
        choose(*coins(0, 2), [range(7), range(ROWS)])


def test_what_does_not_fit_is_refused() -> None:
    names, losses, right = coins(0, 3)
    with pytest.raises(DataError, match="of one shape"):
        choose(names, losses[:2], right)
    losses[0, 0] = np.nan
    with pytest.raises(DataError, match="diverged"):
        choose(names, losses, right)
