import numpy as np
import pytest
from scipy.stats import binom

from petapter.evaluation import abstention_threshold, check_error_rate
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.manifest import CalibrationSpec
from tests.petapter.evaluation.scored_rows import Floats, scored, softmax


def answers(rows: int, *, temperature: float = 1.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Probability of the best label and whether it is right."""
    logits, gold = scored(rows, temperature=temperature, seed=seed)
    return softmax(logits).max(axis=1), logits.argmax(axis=1) == gold


def test_threshold_lies_between_the_first_wrong_row_too_many_and_the_next() -> None:
    # 19 rows, 10 %: floor(0.1 x 20) - 1 = 1 may be wrong; the second wrong one from the top is 0.8
    best = np.concatenate([[0.95, 0.9, 0.85, 0.8], np.full(15, 0.5)])
    correct = np.array([True, False, True, False] + [True] * 15)
    threshold = abstention_threshold(best, correct, 0.1)
    assert threshold.abstain_below == pytest.approx(0.825)
    assert threshold.answered == pytest.approx(3 / 19)
    assert threshold.wrong_answers == pytest.approx(1 / 3)
    assert (threshold.error_rate, threshold.smallest_error_rate) == (0.1, 1 / 20)


@pytest.mark.parametrize(("rows", "error_rate"), [(19, 0.05), (30, 0.1), (100, 0.05), (60, 0.2)])
def test_share_of_wrong_answers_is_at_most_what_was_promised(rows: int, error_rate: float) -> None:
    """Thresholds from many draws, each tried on 200 fresh rows; the mean share of wrong answers keeps the promise."""
    wrong = []
    for seed in range(500):
        threshold = abstention_threshold(*answers(rows, temperature=2.0, seed=seed), error_rate)
        best, correct = answers(200, temperature=2.0, seed=10_000 + seed)
        wrong.append(((best >= threshold.abstain_below) & ~correct).mean())
    error = np.std(wrong) / np.sqrt(len(wrong))
    assert np.mean(wrong) < error_rate + 2 * error
    # and is not kept by never answering: theory allows 1 / (n + 1) to be lost, halfway thresholds as much again
    assert np.mean(wrong) > error_rate - 2 / (rows + 1) - 2 * error


def test_one_more_wrong_row_would_break_the_promise() -> None:
    """What the test above would see of the rule without its + 1, counted as it counts."""
    rows, error_rate, wrong = 19, 0.05, []
    for seed in range(500):
        best, correct = answers(rows, temperature=2.0, seed=seed)
        tried, truth = answers(200, temperature=2.0, seed=10_000 + seed)
        below = np.sort(best[~correct])[::-1][1] if (~correct).sum() > 1 else 0.0
        wrong.append(((tried > below) & ~truth).mean())
    assert np.mean(wrong) > error_rate + 4 * np.std(wrong) / np.sqrt(len(wrong))


def test_answering_everything_needs_no_threshold() -> None:
    best = np.linspace(0.4, 0.9, 30)
    threshold = abstention_threshold(best, np.arange(30) > 0, 0.1)
    assert (threshold.abstain_below, threshold.answered) == (0.0, 1.0)


def test_equally_sure_wrong_rows_are_all_left_out() -> None:
    best = np.array([0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.5])
    correct = np.array([True, False, False, True, True, True, True, True, True, True])
    threshold = abstention_threshold(best, correct, 0.2)  # one may be wrong, and two are at 0.8
    assert threshold.abstain_below == pytest.approx(0.85)
    assert threshold.answered == 0.1


def test_module_that_is_surest_where_it_is_wrong_may_never_answer() -> None:
    best = np.array([0.95, *([0.5] * 19)])
    threshold = abstention_threshold(best, np.arange(20) > 0, 0.06)
    assert threshold.abstain_below == pytest.approx(0.975)
    assert (threshold.answered, threshold.wrong_answers, threshold.wrong_answers_bound) == (0.0, None, 1.0)


@pytest.mark.parametrize(("rows", "wrong"), [(20, 0), (40, 3)])
def test_bound_is_where_so_few_errors_become_unlikely(rows: int, wrong: int) -> None:
    # Clopper-Pearson by its definition: P(at most that many | bound) = 5 %
    best, correct = np.linspace(0.5, 0.9, rows), np.arange(rows) >= wrong
    threshold = abstention_threshold(best, correct, 0.5)
    assert threshold.answered == 1
    assert binom.cdf(wrong, rows, threshold.wrong_answers_bound) == pytest.approx(0.05)


def test_all_wrong_answers_have_no_bound_below_one() -> None:
    threshold = abstention_threshold([0.9, 0.5], [False, False], 0.99)
    assert (threshold.wrong_answers, threshold.wrong_answers_bound) == (1.0, 1.0)


def test_rate_that_so_few_rows_cannot_promise_is_refused_with_the_smallest_and_the_rows_needed() -> None:
    with pytest.raises(InputError, match=r"from 10 rows: .* about 0\.0909; .* label 19 rows"):
        abstention_threshold(np.full(10, 0.9), np.full(10, fill_value=True), 0.05)
    needed = abstention_threshold(np.full(19, 0.9), np.full(19, fill_value=True), 0.05)
    assert needed.abstain_below == 0


@pytest.mark.parametrize("rows", [1, 9, 10, 99])
def test_smallest_rate_can_be_asked_for(rows: int) -> None:
    correct = np.full(rows, fill_value=True)
    smallest = abstention_threshold(np.full(rows, 0.9), correct, 0.6).smallest_error_rate
    assert abstention_threshold(np.full(rows, 0.9), correct, smallest).error_rate == smallest


@pytest.mark.parametrize(("weighted", "kept"), [(True, True), (False, False)])
def test_weights_keep_the_promise_where_labels_are_more_frequent_than_among_the_rows(
    weighted: bool, kept: bool
) -> None:
    """Half of the rows are of a label of which 3 in 10 answers are wrong; where the module is used, nine in ten are."""
    wrong_share = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        hard = np.arange(60) < 30
        best, wrong = random.uniform(0.5, 1, 60), random.random(60) < np.where(hard, 0.3, 0.02)
        weights = np.where(hard, 0.9, 0.1) if weighted else None
        below = abstention_threshold(best, ~wrong, 0.1, weights=weights).abstain_below
        wrong_share.append((0.9 * 0.3 + 0.1 * 0.02) * min(1, 2 * (1 - below)))  # of fresh texts: best is uniform
    error = np.std(wrong_share) / np.sqrt(len(wrong_share))
    assert bool(np.mean(wrong_share) < 0.1 + 2 * error) is kept


def test_equal_weights_are_as_none() -> None:
    best, correct = answers(60, temperature=2.0)
    assert abstention_threshold(best, correct, 0.1, weights=np.full(60, 3.0)) == abstention_threshold(
        best, correct, 0.1
    )


def test_smallest_rate_counts_a_new_text_as_the_heaviest_row() -> None:
    # rows weigh 2 + 8 x 0.5 of the heaviest, which makes 1 / (6 + 1)
    weights = [4.0, 4.0] + [2.0] * 8
    found = abstention_threshold(np.full(10, 0.9), np.full(10, fill_value=True), 0.15, weights=weights)
    assert found.smallest_error_rate == pytest.approx(1 / 7)
    with pytest.raises(InputError, match=r"about 0\.143; ask for that or more, or label 12 rows"):
        check_error_rate(0.13, weights)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        abstention_threshold([0.9], [True], rate)


def test_wrong_rows_of_probability_one_cannot_be_told() -> None:
    with pytest.raises(InputError, match="calibrate first"):
        abstention_threshold([1.0] * 10, [False] * 2 + [True] * 8, 0.15)


@pytest.mark.parametrize(
    ("best", "correct", "message"),
    [([], [], "no rows"), ([0.5], [True, False], "shapes"), ([[0.5]], [[True]], "shapes"), ([-1.0], [True], "logits")],
)
def test_rows_that_cannot_be_used_are_refused(best: object, correct: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        abstention_threshold(best, correct, 0.5)


def test_threshold_is_added_to_the_calibration_it_was_measured_under() -> None:
    threshold = abstention_threshold([0.9, 0.6], [True, False], 0.4)
    assert threshold.added_to(CalibrationSpec(temperature=2.0)) == CalibrationSpec(
        temperature=2.0, abstain_below=0.75, abstain_error_rate=0.4
    )
    assert threshold.added_to(None).temperature == 1


def test_weights_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="2 positive numbers"):
        abstention_threshold([0.9, 0.6], [True, False], 0.5, weights=[1.0, 0.0])
