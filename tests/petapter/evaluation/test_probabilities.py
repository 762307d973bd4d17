import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from petapter import Example
from petapter.evaluation import Answers, evaluate_predictions, evaluate_probabilities
from petapter.evaluation.reliability import ConfidenceRanking, bin_count, expected_calibration_error
from petapter.evaluation.risk_coverage import _areas, area_under_risk_coverage, threshold_figures
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import EvaluationSpec
from tests.petapter.evaluation.scored_rows import Floats, Ints, scored, softmax

NAMES = ("a", "b", "c", "d")


def examples(gold: Ints) -> list[Example]:
    return [Example({"text": f"text {i}"}, NAMES[label]) for i, label in enumerate(gold.tolist())]


def measured(probabilities: Floats, gold: Ints, *, abstain_below: float | None = None) -> dict[str, EvaluationSpec]:
    names = NAMES[: probabilities.shape[1]]
    figures = evaluate_probabilities(
        Answers(probabilities, names, abstain_below), examples(gold), name="held-out", split="test", seeds=[3]
    )
    return {figure.metric: figure for figure in figures}


def ranked(confidence: list[float], correct: list[int]) -> ConfidenceRanking:
    return ConfidenceRanking.of(np.array(confidence), np.array(correct, dtype=bool))


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("rows", [5, 200])
def test_brier_and_log_loss_are_those_of_scikit_learn(labels: int, rows: int) -> None:
    logits, gold = scored(rows, labels=labels, temperature=1.7)
    probabilities = softmax(logits)
    figures = measured(probabilities, gold)
    known = list(range(labels))
    assert figures["log_loss"].value == pytest.approx(log_loss(gold, probabilities, labels=known), rel=1e-12)
    columns = [brier_score_loss(gold == label, probabilities[:, label]) for label in known]
    assert figures["brier"].value == pytest.approx(sum(columns), rel=1e-12)


def test_accuracy_and_macro_f1_come_first_and_are_those_of_the_most_probable_labels() -> None:
    logits, gold = scored(60)
    figures = measured(softmax(logits), gold, abstain_below=0.9)
    assert list(figures) == [
        "accuracy", "macro_f1", "ece", "brier", "log_loss", "aurc", "coverage", "selective_accuracy",
    ]  # fmt: skip
    predicted = [NAMES[label] for label in logits.argmax(axis=1)]
    expected = evaluate_predictions(predicted, examples(gold), name="held-out", split="test", seeds=[3])
    assert (figures["accuracy"], figures["macro_f1"]) == expected
    assert {(figure.evaluation_set, figure.seeds) for figure in figures.values()} == {
        (expected[0].evaluation_set, (3,))
    }


def test_one_sure_error_leaves_the_log_loss_finite() -> None:
    figures = measured(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    # scikit-learn's bound: half of -log(2.2e-16)
    assert figures["log_loss"].value == pytest.approx(log_loss([1, 0], [[1.0, 0.0], [1.0, 0.0]]), rel=1e-9)


@pytest.mark.parametrize("rows", [8, 90, 500])
def test_intervals_contain_their_values(rows: int) -> None:
    for seed in range(4):
        logits, gold = scored(rows, temperature=2.0, seed=seed)
        for figure in measured(softmax(logits), gold, abstain_below=0.7).values():
            assert figure.interval.low <= figure.value + 1e-12, figure.metric
            assert figure.value <= figure.interval.high + 1e-12, figure.metric


def test_interval_of_the_brier_score_is_as_wide_as_its_standard_error() -> None:
    logits, gold = scored(400)
    probabilities = softmax(logits)
    per_row = ((probabilities - np.eye(4)[gold]) ** 2).sum(axis=1)
    interval = measured(probabilities, gold)["brier"].interval
    # normal approximation: 2 x 1.96 standard errors
    assert interval.high - interval.low == pytest.approx(3.92 * per_row.std() / 20, rel=0.05)


def test_same_rows_give_the_same_figures() -> None:
    logits, gold = scored(70)
    assert measured(softmax(logits), gold) == measured(softmax(logits), gold)


# --- calibration error


@pytest.mark.parametrize(("rows", "bins"), [(1, 1), (19, 1), (20, 2), (149, 14), (150, 15), (10_000, 15)])
def test_bins_have_ten_rows_or_there_is_one(rows: int, bins: int) -> None:
    assert bin_count(rows) == bins


def test_calibration_error_of_few_rows_is_the_distance_of_the_means() -> None:
    # hand computation with one bin: |(0.9 + 0.6 + 0.8 + 0.7) / 4 - 1 / 2|
    assert expected_calibration_error(ranked([0.9, 0.6, 0.8, 0.7], [1, 0, 1, 0])).value == pytest.approx(0.25)


def test_calibration_error_is_that_of_sorted_rows_in_equal_parts() -> None:
    logits, gold = scored(300, temperature=2.0)
    probabilities = softmax(logits)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == gold
    order = np.argsort(confidence)
    parts = [(confidence[part], correct[part]) for part in np.array_split(order, 15)]
    figure = measured(probabilities, gold)["ece"]
    assert figure.value == pytest.approx(np.mean([abs(says.mean() - right.mean()) for says, right in parts]))
    assert [each.confidence for each in figure.reliability] == pytest.approx([says.mean() for says, _ in parts])
    assert [each.accuracy for each in figure.reliability] == pytest.approx([right.mean() for _, right in parts])


def test_equally_confident_rows_may_come_in_any_order() -> None:
    random = np.random.default_rng(0)
    confidence = random.choice([0.5, 0.7, 0.9], size=200)
    correct = random.random(200) < 0.6
    shuffled = random.permutation(200)
    one, other = (ConfidenceRanking.of(confidence[rows], correct[rows]) for rows in (np.arange(200), shuffled))
    assert expected_calibration_error(one).value == pytest.approx(expected_calibration_error(other).value, abs=1e-12)
    assert area_under_risk_coverage(one).value == pytest.approx(area_under_risk_coverage(other).value, abs=1e-12)


def test_only_the_calibration_error_has_bins() -> None:
    logits, gold = scored(40)
    with_bins = [name for name, figure in measured(softmax(logits), gold).items() if figure.reliability]
    assert with_bins == ["ece"]


def test_calibrated_modules_have_a_calibration_error_from_0() -> None:
    logits, gold = scored(300)
    assert measured(softmax(logits), gold)["ece"].interval.low == 0


def test_interval_of_the_calibration_error_covers_the_true_one() -> None:
    # a module that says q when it is right with probability q - gap has the true error gap
    random = np.random.default_rng(0)
    for gap, least in ((0.0, 0.9), (0.15, 0.9)):
        covered = 0
        for _ in range(60):
            confidence = random.uniform(0.5, 1, size=150)
            correct = random.random(150) < confidence - gap
            interval = expected_calibration_error(ConfidenceRanking.of(confidence, correct)).interval
            covered += interval.low <= gap <= interval.high
        # 60 draws of a 95 % interval have fewer than 90 % hits with a probability of 3 %; plain percentiles have 0
        assert covered / 60 >= least


# --- risk and coverage


def test_area_of_a_hand_computed_case() -> None:
    # from the surest row: risks 0/1, 1/2, 1/3, 2/4
    figure = area_under_risk_coverage(ranked([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]))
    assert figure.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


@given(
    rows=st.lists(st.tuples(st.sampled_from([0.4, 0.6, 0.9]), st.booleans()), min_size=1, max_size=6),
    picks=st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_area_is_the_mean_over_all_orders_of_equally_sure_rows(
    rows: list[tuple[float, bool]], picks: list[int]
) -> None:
    picked = [rows[pick % len(rows)] for pick in picks]
    areas = []
    for order in itertools.permutations(picked):
        if all(one[0] >= other[0] for one, other in itertools.pairwise(order)):
            wrong = np.cumsum([not correct for _, correct in order])
            areas.append(np.mean(wrong / np.arange(1, len(order) + 1)))
    # counted as a resample of the rows
    ranking = ranked([says for says, _ in rows], [int(right) for _, right in rows])
    counts = np.zeros((1, len(rows)))
    for pick in picks:
        counts[0, ranking.order.tolist().index(pick % len(rows))] += 1
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, len(picks) + 1))])
    assert _areas(ranking, counts, harmonic)[0] == pytest.approx(np.mean(areas), abs=1e-12)


def test_module_that_knows_when_it_is_right_has_a_smaller_area() -> None:
    correct = [1] * 8 + [0] * 2
    knows = area_under_risk_coverage(ranked([0.9] * 8 + [0.5] * 2, correct)).value
    guesses = area_under_risk_coverage(ranked([0.9] * 10, correct)).value
    assert knows == pytest.approx((1 / 9 + 2 / 10) / 10)
    assert guesses == pytest.approx(0.2)  # every order is as likely: the error rate at every coverage


def test_threshold_gives_coverage_and_accuracy_of_what_it_keeps() -> None:
    coverage, selective = threshold_figures(ranked([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]), 0.7)
    assert (coverage.metric, coverage.value) == ("coverage", 0.75)
    assert (selective.metric, selective.value) == ("selective_accuracy", pytest.approx(2 / 3))


def test_nothing_is_said_of_answers_that_are_never_given() -> None:
    (coverage,) = threshold_figures(ranked([0.9, 0.8], [1, 0]), 0.95)
    assert (coverage.value, coverage.interval.high) == (0, 0)


def test_resamples_without_an_answer_do_not_count() -> None:
    _, selective = threshold_figures(ranked([0.9, 0.3, 0.2], [1, 0, 0]), 0.5)
    assert (selective.value, selective.interval.low, selective.interval.high) == (1, 1, 1)


def test_module_that_answers_everything_covers_everything() -> None:
    logits, gold = scored(30)
    figures = measured(softmax(logits), gold, abstain_below=0.0)
    assert figures["coverage"].value == 1
    assert figures["selective_accuracy"].value == accuracy_score(gold, logits.argmax(axis=1))


# --- bad input


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.5]], "shape"),
        ([[0.5, 0.5], [2.0, -1.0]], "not between 0 and 1"),
        ([[0.5, 0.5], [float("nan"), 0.5]], "not between 0 and 1"),
        ([[0.5, 0.5], [0.5, 0.2]], "do not sum to 1"),
    ],
)
def test_probabilities_that_are_none_are_refused(probabilities: list[list[float]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measured(np.array(probabilities), np.array([0, 1]))


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows to evaluate on"):
        evaluate_probabilities(Answers([], ("a", "b")), [], name="held-out", split="test", seeds=[])


def test_label_of_another_task_is_refused() -> None:
    with pytest.raises(DataError, match="'z' is not one of the module's"):
        evaluate_probabilities(
            Answers([[0.5, 0.5]], ("a", "b")), [Example({"text": "t"}, "z")], name="x", split="test", seeds=[]
        )
