import numpy as np
import pytest
import torch
from torch import Tensor

from petapter.evaluation import abstention_threshold, fit_calibration, fit_thresholds
from petapter.training.out_of_fold import calibration_from
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT

TOPICS = TaskSpec.model_validate(
    {"type": "multi-label", "labels": {"sports": "sports", "money": "money"}, "patterns": ["{text} It was {mask}."]}
)


def left_out(rows: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that are three times too sure, and targets of two labels, one of them given each row."""
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(rows, 2))).float()
    first = random.random(rows) < torch.softmax(logits, dim=-1)[:, 0].numpy()
    return 3 * logits, torch.eye(2)[torch.from_numpy(np.where(first, 0, 1))]


def test_single_label_scores_give_temperature_and_bias() -> None:
    logits, targets = left_out(200)
    weights = torch.linspace(0.5, 1.5, 200)
    found = calibration_from(SENTIMENT, logits, targets, weights)
    scores = torch.log_softmax(logits, dim=-1).numpy()
    assert found == fit_calibration(scores, targets.argmax(dim=1).numpy(), weights=weights.numpy())
    assert 1.5 < found.temperature < 4.5


def test_multi_label_scores_give_thresholds() -> None:
    logits, targets = left_out(60)
    found = calibration_from(TOPICS, logits, targets, torch.ones(60))
    assert found.thresholds == tuple(fit_thresholds(torch.sigmoid(logits).numpy(), targets.numpy() > 0))
    assert (found.temperature, found.class_bias, found.abstain_below) == (1.0, None, None)


def test_threshold_is_that_of_the_calibrated_probabilities() -> None:
    logits, targets = left_out(200)
    found = calibration_from(SENTIMENT, logits, targets, torch.ones(200), 0.1)
    bias = torch.tensor(found.class_bias or (0.0, 0.0))
    probabilities = torch.softmax(logits / found.temperature + bias, dim=-1)
    right = probabilities.argmax(dim=1) == targets.argmax(dim=1)
    expected = abstention_threshold(probabilities.max(dim=1).values.numpy(), right.numpy(), 0.1)
    assert found.abstain_below == pytest.approx(expected.abstain_below)
    assert 0.5 < expected.abstain_below < 1
    assert found.abstain_error_rate == 0.1


def test_weights_count_for_the_threshold_where_the_task_states_a_class_prior() -> None:
    logits, targets = left_out(200)
    weights = torch.where(targets[:, 0] > 0, 1.8, 0.2)
    stated = SENTIMENT.model_copy(update={"class_prior": (0.9, 0.1)})
    own, field = (calibration_from(task, logits, targets, weights, 0.1) for task in (SENTIMENT, stated))
    assert own.temperature == field.temperature
    assert own.abstain_below != field.abstain_below


def test_module_that_would_never_answer_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    logits = torch.tensor([[3.0, 0.0]] + [[1.0, 0.0]] * 19)
    targets = torch.tensor([[0.0, 1.0]] + [[1.0, 0.0]] * 19)
    with caplog.at_level("WARNING", logger="petapter"):
        calibration_from(SENTIMENT, logits, targets, torch.ones(20), 0.05)
    (record,) = caplog.records
    assert record.getMessage().startswith("none of 20 left-out rows is sure enough for an error rate of 0.05: ")


def test_multi_label_task_abstains_by_its_thresholds_alone() -> None:
    logits, targets = left_out(60)
    with pytest.raises(InputError, match="single-label tasks: drop it"):
        calibration_from(TOPICS, logits, targets, torch.ones(60), 0.1)
