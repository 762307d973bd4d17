"""A module of label words alone: it loads and answers like any other, and says that no row made it."""

from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, TrainedModule
from petapter.golden import check_golden
from petapter.module import ModuleInfo, open_module, save_module
from petapter.selection import zero_label_module
from petapter.selection.word_reading import read_words
from petapter.training.recorded import recorded_options
from petapter_schemas.errors import BackboneError, DataError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES

TEXTS = [row.fields for row in SENTIMENT_ROWS]
BEHIND = TaskSpec.model_validate(
    {**TOPIC.model_dump(), "patterns": ["{title} {body} It was {mask} {mask}.", "{body} {title} is {mask} {mask}"]}
)
"""Masks behind the texts, where words of every tokenizer have their space."""
PAIRS = [row.fields for row in TOPIC_ROWS]


def changed(task: TaskSpec, **fields: object) -> TaskSpec:
    return TaskSpec.model_validate({**task.model_dump(), **fields})


def said(backbone: Backbone, module: TrainedModule, texts: list[dict[str, str]]) -> torch.Tensor:
    with Engine(backbone) as engine:
        engine.load(module, "zero")
        return engine.score([("zero", text) for text in texts])["zero"].log_probabilities


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_saved_opened_and_answers_what_the_words_say(name: str, backbone_of: BackboneOf, tmp_path: Path) -> None:
    backbone = backbone_of(name)
    module = zero_label_module(BEHIND, PAIRS, backbone)
    manifest = save_module(module, tmp_path / "m", ModuleInfo("zero"))
    opened = open_module(tmp_path / "m", backbone)
    expected = read_words(BEHIND, PAIRS, backbone).log_probabilities
    torch.testing.assert_close(said(backbone, opened, PAIRS), expected, rtol=0.0, atol=2e-3)  # the bias is float16
    assert manifest.training.examples_per_class == (0, 0, 0)


def test_it_reproduces_its_golden_outputs(bert: Backbone) -> None:
    module = zero_label_module(SENTIMENT, TEXTS, bert)
    with Engine(bert) as engine:
        engine.load(module, "zero")
        requests = [("zero", probe.fields) for probe in module.golden.probes]
        scores = engine.score(requests)["zero"]
    check_golden(module.golden, scores)


def test_manifest_says_that_nothing_was_trained(bert: Backbone) -> None:
    training = zero_label_module(SENTIMENT, TEXTS, bert).training
    assert (training.preset, training.steps, training.seeds) == ("zero-label", 0, ())
    assert training.examples_per_class == (0, 0)
    assert training.hyperparameters["unlabelled_texts"] == len(TEXTS)


def test_texts_are_named_by_a_digest_of_what_they_are_not_of_their_order(bert: Backbone) -> None:
    one, other, less = (
        zero_label_module(SENTIMENT, texts, bert).training.hyperparameters["unlabelled_sha256"]
        for texts in (TEXTS, TEXTS[::-1], TEXTS[1:])
    )
    assert one == other != less


def test_labels_are_given_more_evenly_than_the_bare_words_give_them(bert: Backbone) -> None:
    reading = read_words(SENTIMENT, TEXTS * 40, bert)
    raw = torch.softmax(reading.scores[0], dim=-1).mean(dim=0)
    corrected = reading.log_probabilities.exp().mean(dim=0)
    assert (corrected - 0.5).abs().max() < (raw - 0.5).abs().max()


def test_few_texts_are_believed_less(bert: Backbone) -> None:
    few, many = (read_words(SENTIMENT, TEXTS * times, bert).prior for times in (1, 50))
    shrunk = many * (320 / 300) * (6 / 26)  # of N texts N / (N + 20) of the prior is taken out
    torch.testing.assert_close(few, shrunk, rtol=0.1, atol=0.05)


def test_stated_shares_of_the_labels_are_followed(bert: Backbone) -> None:
    plain, rare = (
        read_words(changed(SENTIMENT, class_prior=prior), TEXTS, bert).log_probabilities
        for prior in (None, (0.05, 0.95))
    )
    torch.testing.assert_close(rare, torch.log_softmax(plain + torch.tensor([0.05, 0.95]).log(), dim=-1))


def test_there_is_no_run_to_reproduce(bert: Backbone, tmp_path: Path) -> None:
    manifest = save_module(zero_label_module(SENTIMENT, TEXTS, bert), tmp_path / "m", ModuleInfo("zero"))
    with pytest.raises(InputError, match="without labelled rows, by 'zero-label'"):
        recorded_options(manifest)


def test_what_cannot_work_is_one_line(bert: Backbone, backbone_of: BackboneOf) -> None:
    with pytest.raises(DataError, match="no unlabelled texts"):
        zero_label_module(SENTIMENT, [], bert)
    with pytest.raises(InputError, match="single-label"):
        zero_label_module(changed(SENTIMENT, type="multi-label"), TEXTS, bert)
    with pytest.raises(BackboneError, match="without a masked-LM head"):
        zero_label_module(SENTIMENT, TEXTS, backbone_of("encoder"))
    with pytest.raises(TaskError, match="2 tokens but the pattern has 1 mask"):
        zero_label_module(changed(SENTIMENT, labels={"pos": "great news", "neg": "bad"}), TEXTS, bert)


def test_a_backbone_that_an_engine_has_is_refused_and_left_as_it_was(bert: Backbone, sentiment: TrainedModule) -> None:
    with Engine(bert) as engine:
        engine.load(sentiment, "other")
        with pytest.raises(BackboneError, match="another Engine"):
            zero_label_module(SENTIMENT, TEXTS, bert)
    assert zero_label_module(SENTIMENT, TEXTS, bert).adapter.kind == "none"


def test_patterns_of_it_can_be_chosen_each_with_its_own_prior(bert: Backbone) -> None:
    both = zero_label_module(changed(SENTIMENT, patterns=["{text} It was {mask}.", "{mask} news: {text}"]), TEXTS, bert)
    alone = zero_label_module(changed(SENTIMENT, patterns=["{mask} news: {text}"]), TEXTS, bert)
    assert both.head_tensors["labels.bias"].shape == (2, 2)
    torch.testing.assert_close(both.head_tensors["labels.bias"][1], alone.head_tensors["labels.bias"][0])
