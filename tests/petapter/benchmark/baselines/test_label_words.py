from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import BertForMaskedLM

from petapter import Backbone
from petapter.benchmark.baselines.label_words import LabelWords, mask_scores
from petapter.benchmark.baselines.sequences import padded
from petapter.benchmark.methods import Trial
from petapter.task import read_verbalizer
from petapter_schemas.errors import BackboneError, TaskError
from petapter_schemas.task import PatternSpec, TaskSpec
from tests.petapter.benchmark.baselines.trials import SENTIMENT, TOPIC, TOPIC_ROWS, answer, sentiment_trial, topic_trial
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES

ONE_PATTERN = SENTIMENT.model_copy(update={"patterns": SENTIMENT.patterns[:1]})


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_at_the_masks_are_the_models_own_logits(family: str, backbone_of: BackboneOf) -> None:
    backbone = backbone_of(family)
    pattern = PatternSpec(template="{mask} {mask} {mask} {mask} news: {title} {body}")
    task = SENTIMENT.model_copy(update={"patterns": (pattern,), "fields": TOPIC.fields})
    batch = padded(LabelWords(task, backbone).rows([row.fields for row in TOPIC_ROWS], pattern), backbone)
    with torch.no_grad():
        everywhere = backbone.model(batch.input_ids, batch.attention_mask).logits  # [B, S, V]
        at_masks = mask_scores(backbone.model)(batch)
    expected = torch.stack([row[where] for row, where in zip(everywhere, batch.masks, strict=True)])
    assert at_masks.shape == (5, 4, backbone.model.config.vocab_size)
    torch.testing.assert_close(at_masks, expected)


def test_a_model_that_hides_its_last_layer_is_read_everywhere(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = padded(
        LabelWords(SENTIMENT, bert).rows([{"text": "good"}, {"text": "a bad game"}], SENTIMENT.patterns[0]), bert
    )
    with torch.no_grad():
        narrowed = mask_scores(bert.model)(batch)
        monkeypatch.setattr(BertForMaskedLM, "get_output_embeddings", lambda _model: None)
        torch.testing.assert_close(mask_scores(bert.model)(batch), narrowed)


def zero_shot_by_hand(trial: Trial) -> np.ndarray:
    """Log-probabilities [N, L] under the first pattern, text by text, word by word and token by token."""
    backbone, pattern = trial.backbone, trial.task.patterns[0]
    ids = read_verbalizer(trial.task, backbone.tokenizer).ids
    rows = LabelWords(trial.task, backbone).rows(trial.test, pattern)
    answers = []
    for row in rows:
        with torch.no_grad():
            said = log_softmax(backbone.model(torch.tensor([row.ids])).logits[0, list(row.masks)], dim=-1)  # [M, V]
        scores = [
            np.mean([np.mean([float(said[j, token]) for j, token in enumerate(word)]) for word in words])
            for words in ids
        ]
        answers.append(scores - np.logaddexp.reduce(scores))
    return np.array(answers)


def test_zero_shot_is_the_mean_log_probability_of_words_and_tokens(bert: Backbone) -> None:
    trial = topic_trial(bert)
    assert answer("zero-shot", trial).log_probabilities == pytest.approx(zero_shot_by_hand(trial), abs=1e-4)


def test_zero_shot_averages_the_patterns(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    tasks = [SENTIMENT.model_copy(update={"patterns": (pattern,)}) for pattern in SENTIMENT.patterns]
    mean = np.mean([zero_shot_by_hand(replace(trial, task=task)) for task in tasks], axis=0)
    expected = mean - np.logaddexp.reduce(mean, axis=1, keepdims=True)
    assert answer("zero-shot", trial).log_probabilities == pytest.approx(expected, abs=1e-4)


def test_the_prior_correction_takes_off_what_the_pattern_prefers(bert: Backbone) -> None:
    trial = replace(sentiment_trial(bert, unlabelled=True), task=ONE_PATTERN)
    preferred = np.exp(zero_shot_by_hand(replace(trial, test=trial.unlabelled))).mean(axis=0)  # of 8 texts
    corrected = zero_shot_by_hand(trial) - 8 / 28 * np.log(preferred)
    expected = corrected - np.logaddexp.reduce(corrected, axis=1, keepdims=True)
    given = answer("zero-shot", trial, correction="prior")
    assert given.log_probabilities == pytest.approx(expected, abs=1e-4)
    assert given.details["correction_texts"] == 8
    assert given.module_bytes == 4 * 2


def test_without_unlabelled_texts_the_training_texts_and_two_empty_ones_correct(bert: Backbone) -> None:
    trial = replace(sentiment_trial(bert), task=ONE_PATTERN)
    free = (*(row.fields for row in trial.train), {"text": ""}, {"text": "N/A"})
    given, expected = (answer("zero-shot", t, correction="prior") for t in (trial, replace(trial, unlabelled=free)))
    assert given.log_probabilities == pytest.approx(expected.log_probabilities, abs=1e-6)
    assert given.details["correction_texts"] == 26


def test_a_known_class_prior_counts(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    prior = SENTIMENT.model_copy(update={"class_prior": (0.9, 0.1)})
    without = answer("zero-shot", trial, correction="prior").log_probabilities
    given = answer("zero-shot", replace(trial, task=prior), correction="prior").log_probabilities
    assert given[:, 0] - given[:, 1] == pytest.approx(without[:, 0] - without[:, 1] + np.log(9), abs=1e-4)


def test_zero_shot_looks_at_no_label(bert: Backbone) -> None:
    trial = sentiment_trial(bert)
    turned = tuple(replace(row, label={"pos": "neg", "neg": "pos"}[row.label]) for row in trial.train)
    first, second = (
        answer("zero-shot", replace(trial, train=rows), correction="prior") for rows in (trial.train, turned)
    )
    assert np.array_equal(first.log_probabilities, second.log_probabilities)


@pytest.mark.parametrize("name", ["zero-shot", "pet"])
def test_a_backbone_without_a_masked_lm_head_is_refused(name: str, backbone_of: BackboneOf) -> None:
    with pytest.raises(BackboneError, match="without a masked-LM head, so its label words mean nothing"):
        answer(name, sentiment_trial(backbone_of("encoder")))


@pytest.mark.parametrize("name", ["zero-shot", "pet"])
def test_words_that_do_not_fit_are_refused(name: str, bert: Backbone) -> None:
    task = TaskSpec.model_validate({"labels": {"pos": "very good", "neg": "bad"}, "patterns": "{text} It was {mask}."})
    with pytest.raises(TaskError, match="'very good' of label 'pos' is 2 tokens but the pattern has 1 mask"):
        answer(name, replace(sentiment_trial(bert), task=task))


def test_texts_that_need_windows_are_refused(bert: Backbone) -> None:
    pattern = {"template": "{text} It was {mask}.", "keep": "windows"}
    task = TaskSpec.model_validate({"labels": {"pos": "good", "neg": "bad"}, "patterns": [pattern]})
    with pytest.raises(TaskError, match="choose another way to keep"):
        answer("zero-shot", replace(sentiment_trial(bert), task=task, test=({"text": "good " * 100},)))
