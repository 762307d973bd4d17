import pytest
from sklearn.metrics import f1_score

from petapter import Example
from petapter.evaluation import evaluate_label_sets, gold_labels
from petapter.task import rows_digest
from petapter_schemas.errors import DataError
from tests.petapter.conftest import SENTIMENT

MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})
ROWS = [Example({"text": str(i)}, labels=labels) for i, labels in enumerate([("pos",), ("pos", "neg"), (), ("neg",)])]
PROBABILITIES = [[0.9, 0.4], [0.6, 0.2], [0.7, 0.1], [0.2, 0.8]]


def test_gold_labels_are_in_label_order() -> None:
    assert gold_labels(MULTI, ROWS).tolist() == [[True, False], [True, True], [False, False], [False, True]]


def test_label_of_another_task_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match="row 2 has the label 'meh', which the task lacks"):
        gold_labels(MULTI, [ROWS[0], Example({"text": "a"}, labels=("meh",))])


def test_figures_are_those_of_scikit_learn_at_the_thresholds_and_name_the_rows() -> None:
    found = evaluate_label_sets((PROBABILITIES, (0.65, 0.3)), MULTI, ROWS, name="rows", split="test", seeds=(7,))
    by_name = {item.metric: item for item in found}
    predicted = [[1, 1], [0, 0], [1, 0], [0, 1]]
    gold = [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert by_name["micro_f1"].value == pytest.approx(f1_score(gold, predicted, average="micro"))
    assert by_name["macro_f1"].value == pytest.approx(f1_score(gold, predicted, average="macro"))
    assert by_name["subset_accuracy"].value == 0.25
    assert {(item.evaluation_set.sha256, item.evaluation_set.n, item.seeds) for item in found} == {
        (rows_digest(ROWS), 4, (7,))
    }


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows to evaluate on"):
        evaluate_label_sets(([], (0.5, 0.5)), MULTI, [], name="rows", split="test", seeds=())
