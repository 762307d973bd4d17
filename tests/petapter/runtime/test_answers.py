import pytest
import torch

from petapter.runtime.answers import Prediction, predictions
from petapter.scoring import Scores
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT

MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})


def answer(task: TaskSpec, probabilities: list[float], calibration: CalibrationSpec | None = None) -> Prediction:
    (found,) = predictions("m", task, calibration, Scores(torch.tensor([probabilities]).log(), (3,)))
    return found


def test_single_label_answer_has_its_one_label_in_labels() -> None:
    found = answer(SENTIMENT, [0.25, 0.75])
    assert (found.label, found.labels, found.lost_tokens) == ("neg", ("neg",), 3)
    assert found.probabilities == pytest.approx({"pos": 0.25, "neg": 0.75})


def test_abstaining_gives_no_label_at_all() -> None:
    found = answer(SENTIMENT, [0.25, 0.75], CalibrationSpec(abstain_below=0.8))
    assert (found.label, found.labels) == (None, ())


@pytest.mark.parametrize(
    ("probabilities", "labels", "label"),
    [
        ([0.75, 0.625], ("pos", "neg"), "pos"),
        ([0.625, 0.75], ("pos", "neg"), "neg"),
        ([0.25, 0.5], ("neg",), "neg"),
        ([0.25, 0.375], (), None),
    ],
)
def test_multi_label_answer_has_the_labels_from_one_half_on(
    probabilities: list[float], labels: tuple[str, ...], label: str | None
) -> None:
    found = answer(MULTI, probabilities)
    assert (found.labels, found.label) == (labels, label)


def test_multi_label_answer_obeys_the_threshold_of_each_label() -> None:
    calibration = CalibrationSpec(thresholds=(0.875, 0.25))
    assert answer(MULTI, [0.75, 0.375], calibration).labels == ("neg",)
