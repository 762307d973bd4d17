"""Scores of texts in windows and of several labels, against the sums written out here."""

import pytest
import torch

from petapter import Backbone
from petapter.head import HeadChoice, new_head
from petapter.scoring import score
from petapter.task import Encoder, pad_batch, read_verbalizer
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT

LONG = " ".join(["good team great bad bank no"] * 30)  # 180 tokens; 58 fit
MULTI = SENTIMENT.model_copy(update={"type": "multi-label"})
BIASED = CalibrationSpec(temperature=2.0, class_bias=(0.5, -1.0))


def windowed(pool: str) -> TaskSpec:
    return TaskSpec.model_validate(
        {
            "labels": {"pos": "great", "neg": ["awful", "bad"]},
            "patterns": [
                {"template": "{text} It was {mask}.", "keep": "windows", "windows": {"pool": pool}},
                "{mask} news: {text}",
            ],
        }
    )


def logits(backbone: Backbone, task: TaskSpec, pattern: int, text: str) -> torch.Tensor:
    """Label logits of every window of a text, one by one without padding: [W, L]."""
    head = new_head(backbone, read_verbalizer(task, backbone.tokenizer), HeadChoice("mlm"), seed=0)
    coder = Encoder(backbone.tokenizer, task.patterns[pattern], backbone.max_tokens)
    items = coder.encode_windows([{"text": text}]).encoded
    with torch.inference_mode():
        return torch.cat([head(backbone.read(pad_batch([item], backbone.pad_id))) for item in items])


def scored(
    backbone: Backbone, task: TaskSpec, calibration: CalibrationSpec | None = None, *, text: str = LONG
) -> torch.Tensor:
    head = new_head(backbone, read_verbalizer(task, backbone.tokenizer), HeadChoice("mlm"), seed=0)
    return score(backbone, head, task, [{"text": "good"}, {"text": text}], calibration).log_probabilities


def test_mean_pool_averages_the_log_probabilities_of_the_windows(bert: Backbone) -> None:
    task = windowed("mean")
    first = torch.log_softmax(logits(bert, task, 0, LONG), dim=-1)
    assert len(first) > 3
    second = torch.log_softmax(logits(bert, task, 1, LONG), dim=-1)
    expected = torch.log_softmax((first.mean(dim=0) + second[0]) / 2, dim=-1)
    assert torch.allclose(scored(bert, task)[1], expected, atol=1e-5)


def test_max_pool_takes_the_highest_log_probability_of_each_label(bert: Backbone) -> None:
    task = windowed("max")
    first = torch.log_softmax(logits(bert, task, 0, LONG), dim=-1)
    second = torch.log_softmax(logits(bert, task, 1, LONG), dim=-1)
    expected = torch.log_softmax((first.amax(dim=0) + second[0]) / 2, dim=-1)
    assert torch.allclose(scored(bert, task)[1], expected, atol=1e-5)


def test_several_labels_have_the_sigmoid_of_their_calibrated_mean_logit(bert: Backbone) -> None:
    two = MULTI.model_copy(update={"patterns": windowed("mean").patterns})
    mean = (logits(bert, two, 0, LONG).mean(dim=0) + logits(bert, two, 1, LONG)[0]) / 2
    expected = torch.sigmoid(mean / 2.0 + torch.tensor([0.5, -1.0]))
    assert torch.allclose(torch.exp(scored(bert, two, BIASED)[1]), expected, atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_short_text_scores_alike_whatever_is_kept(bert: Backbone, pool: str) -> None:
    plain = windowed(pool)
    patterns = [{"template": pattern.template} for pattern in plain.patterns]
    head_kept = TaskSpec.model_validate({**plain.model_dump(), "patterns": patterns})
    assert torch.equal(scored(bert, plain, text="a bad match"), scored(bert, head_kept, text="a bad match"))


def test_lost_tokens_of_windows_are_those_that_no_window_holds(bert: Backbone) -> None:
    task = windowed("mean").model_copy(update={"patterns": windowed("mean").patterns[:1]})
    capped = TaskSpec.model_validate(
        {
            **task.model_dump(),
            "patterns": [{"template": "{text} It was {mask}.", "keep": "windows", "windows": {"at_most": 2}}],
        }
    )
    head = new_head(bert, read_verbalizer(task, bert.tokenizer), HeadChoice("mlm"), seed=0)
    texts = [{"text": "good"}, {"text": LONG}]
    assert score(bert, head, task, texts, None).lost_tokens == (0, 0)
    assert score(bert, head, capped, texts, None).lost_tokens == (0, 180 - 2 * 58)
