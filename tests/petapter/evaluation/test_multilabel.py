import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score

from petapter.evaluation import Figure, evaluate_multilabel, fit_thresholds
from petapter.evaluation.multilabel import THRESHOLD_PRIOR_ROWS
from petapter_schemas.errors import DataError
from tests.petapter.evaluation.scored_rows import Floats

SHAPE = (12, 3)


def measured(probabilities: Floats, gold: Floats, thresholds: Floats | list[float]) -> dict[str, Figure]:
    return {figure.metric: figure for figure in evaluate_multilabel(probabilities, gold, thresholds)}


def drawn(rows: int, *, labels: int = 3, seed: int = 0) -> tuple[Floats, Floats]:
    """Calibrated probabilities and labels drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(0.7, 1.5, size=(rows, labels))
    return probabilities, random.random((rows, labels)) < probabilities


@given(
    probabilities=arrays.arrays(np.float64, SHAPE, elements=st.floats(0, 1)),
    gold=arrays.arrays(np.bool_, SHAPE),
)
def test_figures_are_those_of_scikit_learn(probabilities: Floats, gold: Floats) -> None:
    thresholds = np.array([0.5, 0.3, 0.8])
    predicted = probabilities >= thresholds
    figures = measured(probabilities, gold, thresholds)
    assert figures["micro_f1"].value == pytest.approx(f1_score(gold, predicted, average="micro", zero_division=0))
    if (predicted | gold).any():
        macro = f1_score(gold, predicted, average="macro", zero_division=np.nan)
        assert figures["macro_f1"].value == pytest.approx(macro)
    assert figures["subset_accuracy"].value == pytest.approx(accuracy_score(gold, predicted))
    brier = np.mean([brier_score_loss(gold[:, i], probabilities[:, i], pos_label=True) for i in range(3)])
    assert figures["brier"].value == pytest.approx(brier, abs=1e-12)
    assert figures["no_label"].value == pytest.approx(np.mean([not row.any() for row in predicted]))


def test_intervals_contain_their_values_and_shrink() -> None:
    few, many = (measured(*drawn(rows), [0.5] * 3) for rows in (50, 800))
    for metric, figure in few.items():
        assert figure.interval.low <= figure.value <= figure.interval.high
        wide, narrow = (case[metric].interval.high - case[metric].interval.low for case in (few, many))
        assert narrow == pytest.approx(wide / 4, rel=0.35)


def test_fitted_threshold_is_the_best_of_all_but_for_the_shrinkage() -> None:
    probabilities, gold = drawn(200, labels=1)
    candidates = np.unique(probabilities)
    scores = [f1_score(gold[:, 0], probabilities[:, 0] >= cut) for cut in candidates]
    evidence = min(gold.sum(), (~gold).sum())
    weight = evidence / (evidence + THRESHOLD_PRIOR_ROWS)
    unshrunk = 0.5 + (fit_thresholds(probabilities, gold)[0] - 0.5) / weight
    assert f1_score(gold[:, 0], probabilities[:, 0] >= unshrunk) == pytest.approx(max(scores))


def test_fitted_thresholds_pay_where_probabilities_are_too_low() -> None:
    probabilities, gold = drawn(300)
    fresh, truth = drawn(2000, seed=1)
    low, fresh_low = probabilities**3, fresh**3
    figures = [measured(fresh_low, truth, cut) for cut in ([0.5] * 3, fit_thresholds(low, gold))]
    assert figures[1]["micro_f1"].value > figures[0]["micro_f1"].value + 0.1
    assert figures[1]["no_label"].value < figures[0]["no_label"].value


def test_threshold_of_few_rows_stays_near_a_half() -> None:
    # two rows with the label, ten rows' worth of 0.5: 2 / 12 of the way from 0.5 to the gap (0.1, 0.2)
    probabilities = np.array([[0.2], [0.3], [0.1], [0.05], [0.02]])
    gold = np.array([[True], [True], [False], [False], [False]])
    assert fit_thresholds(probabilities, gold) == pytest.approx([0.5 + (0.15 - 0.5) * 2 / 12])


def test_gap_that_holds_a_half_is_cut_there() -> None:
    probabilities = np.array([[0.9], [0.8], [0.1], [0.05]])
    assert fit_thresholds(probabilities, np.array([[True], [True], [False], [False]])) == pytest.approx([0.5])


@pytest.mark.parametrize("everywhere", [True, False])
def test_label_that_all_rows_or_none_have_keeps_a_half(everywhere: bool) -> None:
    assert fit_thresholds([[0.1], [0.9]], [[everywhere], [everywhere]]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("probabilities", "gold", "thresholds", "message"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), [0.5, 0.5], "no rows"),
        (np.zeros((2, 2)), np.zeros((2, 3)), [0.5, 0.5], "one shape"),
        (np.zeros((2, 2)), np.zeros((2, 2)), [0.5], "2 thresholds"),
        (np.full((2, 2), 1.5), np.zeros((2, 2)), [0.5, 0.5], "logits"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(
    probabilities: Floats, gold: Floats, thresholds: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_multilabel(probabilities, gold, thresholds)
