import pytest
import torch
from sklearn.metrics import log_loss

from petapter import Example
from petapter.training.objective import objective
from tests.petapter.conftest import SENTIMENT

CPU = torch.device("cpu")
MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})
LOGITS = torch.tensor([[2.0, -1.0], [0.5, 0.25], [-3.0, 1.0]])


def single(*pairs: tuple[str, float]) -> list[Example]:
    return [Example({"text": "a"}, label, weight) for label, weight in pairs]


def several(*sets: tuple[str, ...], weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> list[Example]:
    return [Example({"text": "a"}, weight=weight, labels=labels) for labels, weight in zip(sets, weights, strict=True)]


def test_equal_weights_give_torchs_own_cross_entropy() -> None:
    loss = objective(SENTIMENT, single(("pos", 2.0), ("neg", 2.0), ("neg", 2.0)), 0.1, CPU)
    expected = torch.nn.functional.cross_entropy(LOGITS, torch.tensor([0, 1, 1]), label_smoothing=0.1)
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(float(expected), abs=1e-6)


def test_weighted_cross_entropy_is_scikit_learns_weighted_log_loss() -> None:
    loss = objective(SENTIMENT, single(("pos", 1.0), ("neg", 2.0), ("neg", 6.0)), 0.0, CPU)
    expected = log_loss([0, 1, 1], torch.softmax(LOGITS.double(), dim=-1), sample_weight=[1.0, 2.0, 6.0])
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(expected, abs=1e-6)


def test_row_counts_by_its_weight_over_the_mean_of_all_rows_also_in_a_batch_of_its_own() -> None:
    loss = objective(SENTIMENT, single(("pos", 1.0), ("neg", 2.0), ("neg", 6.0)), 0.0, CPU)
    expected = torch.nn.functional.cross_entropy(LOGITS[2:], torch.tensor([1])) * 6.0 / 3.0
    assert float(loss(LOGITS[2:], [2])) == pytest.approx(float(expected), abs=1e-6)


def test_several_labels_give_the_mean_log_loss_of_each() -> None:
    loss = objective(MULTI, several(("pos", "neg"), (), ("neg",)), 0.0, CPU)
    probabilities = torch.sigmoid(LOGITS.double())
    has = [[1, 1], [0, 0], [0, 1]]
    expected = [log_loss([row[label] for row in has], probabilities[:, label]) for label in (0, 1)]
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_several_labels_are_weighted_by_row() -> None:
    loss = objective(MULTI, several(("pos", "neg"), (), ("neg",), weights=(1.0, 2.0, 6.0)), 0.0, CPU)
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        LOGITS, torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]), reduction="none"
    ).mean(dim=-1)
    expected = (each * torch.tensor([1.0, 2.0, 6.0])).sum() / 9
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(float(expected), abs=1e-6)


def test_smoothing_moves_the_targets_of_several_labels_towards_one_half() -> None:
    # by hand: a logit of 0 costs log 2 whatever the target; one of 1 costs 0.3132617 with the label, 1.3132617 without
    loss = objective(MULTI, several(("pos",), (), ()), 0.2, CPU)
    expected = (0.9 * 0.3132617 + 0.1 * 1.3132617 + 0.6931472) / 2
    assert float(loss(torch.tensor([[1.0, 0.0]]), [0])) == pytest.approx(expected, abs=1e-6)


def test_soft_targets_that_are_sure_cost_what_labels_cost() -> None:
    rows = single(("pos", 1.0), ("neg", 2.0), ("neg", 6.0))
    soft = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    hard, learnt = (objective(SENTIMENT, rows, 0.1, CPU, given)(LOGITS, [0, 1, 2]) for given in (None, soft))
    assert float(learnt) == pytest.approx(float(hard), abs=1e-6)


def test_soft_targets_cost_least_where_the_model_says_the_same() -> None:
    soft = torch.softmax(LOGITS, dim=-1)
    loss = objective(SENTIMENT, single(("pos", 1.0), ("neg", 1.0), ("neg", 1.0)), 0.0, CPU, soft)
    entropy = -(soft * soft.log()).sum(dim=-1).mean()
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(float(entropy), abs=1e-6)
    assert float(loss(LOGITS + torch.tensor([0.1, -0.1]), [0, 1, 2])) > float(entropy)


def test_soft_targets_of_several_labels_are_probabilities_of_each() -> None:
    soft = torch.tensor([[0.9, 0.2], [0.5, 0.5], [0.0, 1.0]])
    loss = objective(MULTI, several((), (), ()), 0.0, CPU, soft)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS, soft)
    assert float(loss(LOGITS, [0, 1, 2])) == pytest.approx(float(expected), abs=1e-6)


def test_soft_targets_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="soft targets of shape"):
        objective(SENTIMENT, single(("pos", 1.0)), 0.0, CPU, torch.ones(2, 2))
