"""Weights that are chosen on rows: found where they pay, equal where they do not, and told by rows left out."""

from dataclasses import replace

import numpy as np
import pytest

from petapter import Backbone, Engine, Example, TrainedModule, TrainingOptions, train
from petapter.merging import Recipe, merge, weigh_ensemble, weigh_merge
from petapter.merging.merging import module_scores
from petapter.merging.weighing import simplex, weighed
from petapter_schemas.errors import DataError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.merging.conftest import TEXTS, ModuleOf

TWO = [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)]


@pytest.fixture(scope="module")
def good(bert: Backbone) -> TrainedModule:
    return train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=60, rank=0, head_lr=0.05))


@pytest.fixture(scope="module")
def bad(good: TrainedModule) -> TrainedModule:
    """Says the opposite."""
    return replace(good, head_tensors={name: -tensor for name, tensor in good.head_tensors.items()})


@pytest.mark.parametrize(
    ("members", "most", "count", "steps"),
    [(2, 21, 21, 20), (2, 1000, 21, 20), (3, 21, 22, 5), (4, 21, 21, 3), (30, 21, 31, 1)],
)
def test_candidates_are_equal_weights_and_the_simplex_at_equal_steps(
    members: int, most: int, count: int, steps: int
) -> None:
    points = simplex(members, most)
    assert (len(points), len(set(points))) == (count, count)
    assert points[0] == pytest.approx([1 / members] * members)
    for point in points:
        assert sum(point) == pytest.approx(1)
        assert min(point) >= 0
    assert np.array(points[1:]) * steps == pytest.approx(np.round(np.array(points[1:]) * steps))


def test_loss_is_of_rows_that_had_no_part_in_the_choice() -> None:
    # By hand: of three rows each is best under another candidate, and the sums of the other two always choose wrongly.
    losses = np.array([[0.5, 0.5, 0.5], [0.0, 1.0, 0.2], [1.0, 0.0, 0.2]])
    # row 0 left out: sums 1.0, 1.2, 0.2 -> the third, which loses 1.0; row 1: 1.0, 0.2, 1.2 -> the second, 1.0;
    # row 2: 1.0, 1.0, 1.0 -> the first, 0.5
    found = weighed(TWO, losses)
    assert found.loss == pytest.approx(2.5 / 3)
    assert found.equal_loss == pytest.approx(0.5)
    assert found.error == pytest.approx(np.std([-0.5, -0.5, 0.0], ddof=1) / np.sqrt(3))
    assert (found.weights, found.is_better, found.rows) == ((0.5, 0.5), False, 3)


def test_candidate_that_is_better_everywhere_is_taken() -> None:
    losses = np.stack([np.full(40, 0.5), np.linspace(0.1, 0.2, 40), np.full(40, 2.0)])
    found = weighed(TWO, losses)
    assert (found.weights, found.is_better) == ((1.0, 0.0), True)
    assert found.loss == pytest.approx(0.15)


def test_gain_of_rounding_is_none() -> None:
    losses = np.stack([np.full(40, 0.5), np.full(40, 0.49999), np.full(40, 2.0)])
    assert weighed(TWO, losses).weights == (0.5, 0.5)


def test_gain_that_rows_left_out_do_not_show_is_none() -> None:
    losses = np.stack([np.full(4, 0.5), np.array([0.0, 0.0, 0.0, 1.9]), np.full(4, 2.0)])
    found = weighed(TWO, losses)
    assert losses[1].mean() < losses[0].mean()
    assert (found.weights, found.is_better) == ((0.5, 0.5), False)


def test_many_rows_are_left_out_in_ten_folds() -> None:
    # The second candidate wins whenever row 7 is among the others, and row 7 is left out with 17, 27, … alone.
    losses = np.ones((3, 100))
    losses[1, 7] = -50
    losses[1, [17, 27]] = 3.0
    found = weighed(TWO, losses)
    assert found.loss == pytest.approx(1.0)  # fold 7 by equal weights; the other folds lose 1 under either


def test_member_that_is_wrong_counts_nothing_in_an_ensemble(
    bert: Backbone, good: TrainedModule, bad: TrainedModule
) -> None:
    found = weigh_ensemble(bert, {"bad": bad, "good": good}, SENTIMENT_ROWS)
    assert found.is_better
    assert found.weights[1] >= 0.9
    assert found.loss < found.equal_loss - found.error


def test_twins_count_alike(bert: Backbone, good: TrainedModule) -> None:
    found = weigh_ensemble(bert, {"one": good, "two": good}, SENTIMENT_ROWS)
    assert (found.weights, found.is_better) == ((0.5, 0.5), False)
    assert found.loss == pytest.approx(found.equal_loss)


def test_loss_of_an_ensemble_is_that_of_what_the_engine_says(bert: Backbone, module_of: ModuleOf) -> None:
    members = {"a": module_of("lora", 0), "b": module_of("ia3", 1)}
    found = weigh_ensemble(bert, members, SENTIMENT_ROWS)
    with Engine(bert) as engine:
        engine.load_ensemble(members, "both")
        said = engine.predict([("both", row.fields) for row in SENTIMENT_ROWS])
    lost = [-np.log(answer.probabilities[row.label]) for answer, row in zip(said, SENTIMENT_ROWS, strict=True)]
    assert found.equal_loss == pytest.approx(np.mean(lost), abs=1e-5)


def test_labels_of_a_multi_label_task_count_each(bert: Backbone, module_of: ModuleOf) -> None:
    task = TaskSpec.model_validate(SENTIMENT.model_dump() | {"type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    members = {
        str(seed): train(task, rows, bert, TrainingOptions(steps=3, rank=0, head_lr=0.02, seed=seed)) for seed in (0, 1)
    }
    found = weigh_ensemble(bert, members, rows)
    with Engine(bert) as engine:
        engine.load_ensemble(members, "both")
        said = engine.predict([("both", row.fields) for row in rows])
    lost = [
        -sum(np.log(p if label in row.labels else 1 - p) for label, p in answer.probabilities.items())
        for answer, row in zip(said, rows, strict=True)
    ]
    assert found.equal_loss == pytest.approx(np.mean(lost), abs=1e-5)


def test_rows_count_as_they_weigh(bert: Backbone, good: TrainedModule, bad: TrainedModule) -> None:
    rows = [replace(row, weight=9.0 if number == 0 else 1.0) for number, row in enumerate(SENTIMENT_ROWS)]
    plain = weigh_ensemble(bert, {"bad": bad, "good": good}, SENTIMENT_ROWS)
    weighted = weigh_ensemble(bert, {"bad": bad, "good": good}, rows)
    with Engine(bert) as engine:
        engine.load_ensemble({"bad": bad, "good": good}, "both")
        said = engine.predict([("both", row.fields) for row in rows])
    lost = [-np.log(answer.probabilities[row.label]) for answer, row in zip(said, rows, strict=True)]
    assert weighted.equal_loss == pytest.approx(np.average(lost, weights=[row.weight for row in rows]), abs=1e-5)
    assert plain.equal_loss == pytest.approx(np.mean(lost), abs=1e-5)


def test_weights_of_a_merge_are_chosen_by_what_the_merges_say(
    bert: Backbone, good: TrainedModule, bad: TrainedModule
) -> None:
    found = weigh_merge([bad, good], bert, Recipe(), SENTIMENT_ROWS)
    assert found.is_better
    assert found.weights[1] > 0.5
    merged = merge([bad, good], bert, Recipe())
    said = module_scores(bert, merged, TEXTS, None).log_probabilities
    labels = SENTIMENT.label_names
    lost = [-float(row[labels.index(example.label)]) for row, example in zip(said, SENTIMENT_ROWS, strict=True)]
    assert found.equal_loss == pytest.approx(np.mean(lost), abs=1e-5)


def test_one_row_is_too_few(bert: Backbone, good: TrainedModule, bad: TrainedModule) -> None:
    with pytest.raises(DataError, match="on 2 rows or more, not on 1"):
        weigh_ensemble(bert, {"bad": bad, "good": good}, SENTIMENT_ROWS[:1])
