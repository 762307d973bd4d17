import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from petapter import Example
from petapter.evaluation import evaluate_predictions, majority_accuracy
from petapter.evaluation.intervals import RESAMPLES
from petapter.evaluation.metrics import _accuracy, _confusion, _macro_f1, _resample
from petapter.task import rows_digest
from petapter_schemas.errors import DataError
from petapter_schemas.manifest import EvaluationSpec

LABELS = ("a", "b", "c")
PAIRS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30)


def rows(labels: list[str]) -> list[Example]:
    return [Example({"text": f"text {i}"}, label) for i, label in enumerate(labels)]


def drawn(n: int, *, right: float = 0.7, seed: int = 0) -> tuple[list[str], list[str]]:
    """Gold labels and predictions of which a given share is right."""
    random = np.random.default_rng(seed)
    gold = random.choice(LABELS, size=n, p=[0.5, 0.3, 0.2]).tolist()
    guesses = random.choice(LABELS, size=n).tolist()
    return gold, [g if hit else o for g, o, hit in zip(gold, guesses, random.random(n) < right, strict=True)]


def measured(gold: list[str], predicted: list[str]) -> tuple[EvaluationSpec, EvaluationSpec]:
    return evaluate_predictions(predicted, rows(gold), name="held-out", split="test", seeds=[0])


@given(pairs=PAIRS)
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    gold, predicted = (list(column) for column in zip(*pairs, strict=True))
    accuracy, macro_f1 = measured(gold, predicted)
    assert accuracy.value == accuracy_score(gold, predicted)
    assert macro_f1.value == f1_score(gold, predicted, average="macro", zero_division=0)


@given(pairs=PAIRS, picks=st.lists(st.integers(0, 29), min_size=1, max_size=30))
def test_figures_of_resampled_counts_are_those_of_scikit_learn_on_the_resampled_rows(
    pairs: list[tuple[str, str]], picks: list[int]
) -> None:
    gold, predicted = ([pairs[pick % len(pairs)][side] for pick in picks] for side in (0, 1))
    # over all labels of the original rows, of which a resample may lack some
    index = {label: i for i, label in enumerate(sorted({label for pair in pairs for label in pair}))}
    counts = np.zeros((1, len(index), len(index)), dtype=np.int64)
    for truth, answer in zip(gold, predicted, strict=True):
        counts[0, index[truth], index[answer]] += 1
    assert _accuracy(counts)[0] == pytest.approx(accuracy_score(gold, predicted), abs=1e-12)
    reference = f1_score(gold, predicted, average="macro", zero_division=0)
    assert _macro_f1(counts)[0] == pytest.approx(reference, abs=1e-12)


def test_resamples_are_as_many_rows_as_there_were_and_only_cells_that_occur() -> None:
    confusion = _confusion(*drawn(40))
    resampled = _resample(confusion)
    assert resampled.shape == (RESAMPLES, 3, 3)
    assert set(resampled.sum(axis=(1, 2)).tolist()) == {40}
    assert not resampled[:, confusion == 0].any()


def test_resampled_accuracy_has_the_mean_and_spread_of_a_binomial() -> None:
    # hand computation: mean p, standard deviation sqrt(p (1 - p) / n)
    gold = ["a"] * 100
    accuracies = _accuracy(_resample(_confusion(gold, ["a"] * 80 + ["b"] * 20)))
    assert accuracies.mean() == pytest.approx(0.8, abs=0.005)
    assert accuracies.std() == pytest.approx(0.04, abs=0.004)


@pytest.mark.parametrize("n", [10, 60, 400])
@pytest.mark.parametrize("seed", range(5))
def test_interval_contains_the_value(n: int, seed: int) -> None:
    for figure in measured(*drawn(n, seed=seed)):
        assert figure.interval.low <= figure.value <= figure.interval.high


def test_interval_shrinks_with_the_number_of_rows() -> None:
    gold, predicted = drawn(50)
    widths = [
        [figure.interval.high - figure.interval.low for figure in measured(gold * times, predicted * times)]
        for times in (1, 4, 16)
    ]
    for wide, narrow in itertools.pairwise(widths):
        assert narrow[0] == pytest.approx(wide[0] / 2, rel=0.25)  # a standard error falls with the root of n
        assert narrow[1] < wide[1]


def test_interval_is_the_same_every_time() -> None:
    gold, predicted = drawn(30)
    assert measured(gold, predicted) == measured(gold, predicted)


def test_interval_does_not_depend_on_global_random_numbers() -> None:
    gold, predicted = drawn(30)
    first = measured(gold, predicted)
    np.random.default_rng().random(5)
    assert measured(gold, predicted) == first


def test_perfect_answers_have_a_perfect_interval() -> None:
    for figure in measured(["a", "b"], ["a", "b"]):
        assert (figure.value, figure.interval.low, figure.interval.high) == (1.0, 1.0, 1.0)


def test_interval_says_how_it_was_made() -> None:
    accuracy, _ = measured(["a", "b"], ["a", "a"])
    assert (accuracy.interval.level, accuracy.interval.method) == (0.95, "bootstrap over rows, 2000 resamples")


def test_figure_names_its_evaluation_set_and_seeds() -> None:
    examples = rows(["a", "b", "b"])
    figures = evaluate_predictions(["a", "b", "a"], examples, name="held-out", split="dev", seeds=[3, 4])
    for figure in figures:
        assert figure.evaluation_set.model_dump() == {
            "name": "held-out",
            "sha256": rows_digest(examples),
            "split": "dev",
            "n": 3,
        }
        assert figure.seeds == (3, 4)
    assert [figure.metric for figure in figures] == ["accuracy", "macro_f1"]


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows to evaluate on"):
        evaluate_predictions([], [], name="held-out", split="test", seeds=[])


def test_majority_accuracy_is_the_share_of_the_most_frequent_label() -> None:
    assert majority_accuracy(rows(["a", "b", "b", "c"])) == 0.5


def test_majority_accuracy_is_that_of_scikit_learns_dummy() -> None:
    from sklearn.dummy import DummyClassifier

    gold, _ = drawn(50)
    features = np.zeros((50, 1))
    dummy = DummyClassifier(strategy="most_frequent").fit(features, gold)
    assert majority_accuracy(rows(gold)) == dummy.score(features, gold)
