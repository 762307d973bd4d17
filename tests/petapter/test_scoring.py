import pytest
import torch

from petapter import Backbone
from petapter.head import HeadChoice, new_head
from petapter.scoring import score
from petapter.task import Encoder, pad_batch, read_verbalizer
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec

LABELS = {"pos": "great", "neg": "bad", "mid": "fine"}
TWO_PATTERNS = TaskSpec.model_validate({"labels": LABELS, "patterns": ["{text} It was {mask}.", "{mask} news: {text}"]})
TEXTS = [{"text": "good game"}, {"text": "no price in all the world is as bad as this"}, {"text": ""}]


def test_patterns_are_averaged_as_log_probabilities(bert: Backbone) -> None:
    # hand computation: log_softmax of the mean of the patterns' log_softmax, one text at a time
    head = new_head(bert, read_verbalizer(TWO_PATTERNS, bert.tokenizer), HeadChoice("mlm"), seed=0)
    found = score(bert, head, TWO_PATTERNS, TEXTS, None).log_probabilities
    for row, text in enumerate(TEXTS):
        each = []
        for pattern in TWO_PATTERNS.patterns:
            encoded = Encoder(bert.tokenizer, pattern, 64).encode([text])
            with torch.no_grad():
                each.append(torch.log_softmax(head(bert.read(pad_batch(encoded, 0)))[0], dim=-1))
        expected = torch.log_softmax(torch.stack(each).mean(dim=0), dim=-1)
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=0)


def test_each_row_is_a_distribution(bert: Backbone) -> None:
    head = new_head(bert, read_verbalizer(TWO_PATTERNS, bert.tokenizer), HeadChoice("random"), seed=0)
    calibration = CalibrationSpec(temperature=0.3, class_bias=(1.0, -1.0, 0.0))
    found = score(bert, head, TWO_PATTERNS, TEXTS, calibration).log_probabilities
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(3))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_lost_tokens_are_the_most_of_any_pattern(bert: Backbone, order: tuple[int, int]) -> None:
    # [CLS] {text} [MASK] [SEP] leaves 61 of 64 positions, [CLS] {text} it was [MASK] . [SEP] leaves 58
    templates = ["{text} {mask}", "{text} it was {mask}."]
    task = TaskSpec.model_validate({"labels": LABELS, "patterns": [templates[i] for i in order]})
    head = new_head(bert, read_verbalizer(task, bert.tokenizer), HeadChoice("mlm"), seed=0)
    assert score(bert, head, task, [{"text": " ".join(["good"] * 70)}], None).lost_tokens == (12,)


def test_no_texts_have_no_scores(bert: Backbone) -> None:
    head = new_head(bert, read_verbalizer(TWO_PATTERNS, bert.tokenizer), HeadChoice("mlm"), seed=0)
    assert score(bert, head, TWO_PATTERNS, [], None).log_probabilities.shape == (0, 3)
