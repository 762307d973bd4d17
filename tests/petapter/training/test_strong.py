import logging
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, Example, ModuleInfo, open_module, save_module, train
from petapter.head import restore_head
from petapter.scoring import score
from petapter.task import encode_rows, read_verbalizer
from petapter.training import StrongOptions, evidence
from petapter.training.convex import convex_logits, fit_convex_head
from petapter.training.evidence import evidence_of, label_head, read_frozen, row_weights, targets_of, words_prior
from petapter.training.strong import train_strong
from petapter_schemas.errors import InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, HEADLESS

ALWAYS = StrongOptions(least_rows=4, steps=100, batch_size=4, rank=2, adapter_lr=0.02)
"""On a backbone of random weights a delta needs so many steps to beat the convex head."""
MANY_ROWS = [
    Example({"text": f"{text} {word}"}, label)
    for word in ("now", "here", "again", "so", "and more")
    for text, label in (
        ("a very good game", "pos"),
        ("good team and fine ball", "pos"),
        ("not a bad price, an awful one", "neg"),
        ("the bank was bad", "neg"),
    )
]


def accuracy(backbone: Backbone, module: object, rows: list[Example]) -> float:
    with Engine(backbone) as engine:
        engine.load(module, "m")  # type: ignore[arg-type]
        answers = engine.predict([("m", row.fields) for row in rows])
    return sum(answer.label == row.label for answer, row in zip(answers, rows, strict=True)) / len(rows)


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_every_architecture_trains_with_and_without_a_delta(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    for options in (StrongOptions(delta="never"), ALWAYS):
        module = train(SENTIMENT, MANY_ROWS, backbone, options)
        assert module.training.preset == "strong"
        assert accuracy(backbone, module, MANY_ROWS) > 0.75


@pytest.mark.parametrize("options", [StrongOptions(delta="never"), ALWAYS], ids=["convex", "delta"])
def test_saved_module_answers_as_it_was_measured(bert: Backbone, tmp_path: Path, options: StrongOptions) -> None:
    module = train(SENTIMENT, MANY_ROWS, bert, options)
    save_module(module, tmp_path / "m", ModuleInfo("m"))
    with Engine(bert) as engine:
        engine.load(tmp_path / "m", "m", check=True)  # reproduces the golden outputs, calibration included
    assert open_module(tmp_path / "m", bert).head.dtype == "float16"


def test_convex_module_says_what_the_convex_head_says(bert: Backbone) -> None:
    # reference: the averaged head applied to the features, before it is stored as a module
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    encoded = encode_rows(SENTIMENT, bert.tokenizer, bert.max_tokens, SENTIMENT_ROWS)
    head = label_head(bert, read_verbalizer(SENTIMENT, bert.tokenizer), SENTIMENT)
    reading = read_frozen(bert, head, encoded)
    weights = row_weights(SENTIMENT, SENTIMENT_ROWS, targets_of(SENTIMENT, SENTIMENT_ROWS))
    prior = words_prior(head, bert, SENTIMENT, (reading.words, weights))
    given = evidence_of(SENTIMENT, SENTIMENT_ROWS, reading, prior)
    expected = torch.log_softmax(convex_logits(fit_convex_head(given), given), dim=-1)
    with Engine(bert) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in SENTIMENT_ROWS])
    temperature = module.calibration.temperature if module.calibration else 1.0
    found = torch.tensor([[answer.probabilities[name] for name in ("pos", "neg")] for answer in answers]).double().log()
    torch.testing.assert_close(found, torch.log_softmax(expected / temperature, dim=-1), atol=5e-3, rtol=0)


def test_convex_module_has_no_seed(bert: Backbone) -> None:
    first, second = (train(TOPIC, TOPIC_ROWS, bert, StrongOptions(seed=seed)) for seed in (0, 7))
    assert all(torch.equal(first.head_tensors[name], second.head_tensors[name]) for name in first.head_tensors)
    assert first.adapter.kind == "none"
    assert first.training.steps == 0


def test_delta_is_decided_by_its_seed_alone(bert: Backbone) -> None:
    torch.manual_seed(1)
    first = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    torch.manual_seed(2)
    second = train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    assert all(torch.equal(first.head_tensors[name], second.head_tensors[name]) for name in first.head_tensors)
    assert all(torch.equal(first.adapter_tensors[name], second.adapter_tensors[name]) for name in first.adapter_tensors)


def test_delta_that_makes_left_out_rows_worse_does_not_ship(bert: Backbone) -> None:
    reckless = StrongOptions(least_rows=4, steps=30, batch_size=4, rank=2, adapter_lr=30.0)
    module = train(SENTIMENT, MANY_ROWS, bert, reckless)
    assert module.training.hyperparameters["shipped"] == "convex"
    assert module.adapter.kind == "none"
    plain = train(SENTIMENT, MANY_ROWS, bert, StrongOptions(delta="never"))
    assert all(torch.equal(module.head_tensors[name], plain.head_tensors[name]) for name in plain.head_tensors)


def test_few_rows_get_no_delta(bert: Backbone) -> None:
    assert train(SENTIMENT, SENTIMENT_ROWS, bert).adapter.kind == "none"


def test_backbone_is_bare_and_unchanged_after_training(bert: Backbone) -> None:
    before = {name: value.clone() for name, value in bert.model.state_dict().items()}
    train(SENTIMENT, MANY_ROWS, bert, ALWAYS)
    after = bert.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not bert.model.training


def test_backbone_without_a_masked_lm_head_reads_the_text_alone_and_says_so(
    backbone_of: BackboneOf, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="petapter"):
        module = train(SENTIMENT, SENTIMENT_ROWS, backbone_of("encoder"))
    assert (module.head.reads, module.head.words) == ("mean-pool", 0.0)
    assert "without a masked-LM head" in caplog.text


def test_prior_of_the_words_is_their_mean_over_rows_null_texts_and_texts_without_labels(bert: Backbone) -> None:
    texts = [{"text": f"the {word} of the market"} for word in ("price", "bank", "team", "ball")]
    head = label_head(bert, read_verbalizer(SENTIMENT, bert.tokenizer), SENTIMENT)
    fields = [*(row.fields for row in SENTIMENT_ROWS), *texts]
    examples = [Example(dict(field), "pos") for field in fields]
    words = read_frozen(bert, head, encode_rows(SENTIMENT, bert.tokenizer, bert.max_tokens, examples)).words
    prior = words_prior(head, bert, SENTIMENT, (words, torch.ones(len(fields))))
    null = [Example({"text": text}, "pos") for text in ("N/A", ".")]
    empty = read_frozen(bert, head, encode_rows(SENTIMENT, bert.tokenizer, bert.max_tokens, null)).words
    expected = torch.softmax(torch.cat([words, empty], dim=1), dim=-1).mean(dim=1).log()
    torch.testing.assert_close(prior, expected)


def test_texts_without_labels_change_the_prior(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    given = evidence.words_prior
    monkeypatch.setattr(evidence, "words_prior", lambda *args: seen.append(args[3][0].shape[1]) or given(*args))
    train_strong(SENTIMENT, SENTIMENT_ROWS, bert, unlabelled=[{"text": "the price"}, {"text": "a ball"}])
    assert seen == [len(SENTIMENT_ROWS) + 2]


def test_rows_of_a_rare_label_count_as_the_given_prior_says() -> None:
    rows = [Example({"text": "a"}, "pos")] * 8 + [Example({"text": "b"}, "neg")] * 2
    task = SENTIMENT.model_copy(update={"class_prior": (0.5, 0.5)})
    weights = row_weights(task, rows, targets_of(task, rows))
    assert float(weights[:8].sum()) == pytest.approx(float(weights[8:].sum()))
    without = row_weights(SENTIMENT, rows, targets_of(SENTIMENT, rows))
    share = float(without[8:].sum() / without.sum())
    assert share == pytest.approx((2 + 5) / (10 + 10))  # two rows and five pseudo-rows of each label


def test_rows_with_several_labels_train(bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [
        Example({"text": row.fields["text"]}, labels=("pos", "neg") if i % 5 == 0 else (row.label,))
        for i, row in enumerate(MANY_ROWS)
    ]
    module = train(task, rows, bert, ALWAYS)
    assert module.calibration is not None
    assert module.calibration.thresholds is not None
    with Engine(bert) as engine:
        engine.load(module, "m", check=True)
        assert all(set(p.labels) <= {"pos", "neg"} for p in engine.predict([("m", row.fields) for row in rows]))


def test_label_without_rows_is_scored_by_its_words(bert: Backbone) -> None:
    task = TaskSpec.model_validate(
        {"labels": {"pos": "good", "neg": "bad", "world": "world"}, "patterns": ["{text} It was {mask}."]}
    )
    module = train(task, SENTIMENT_ROWS, bert)
    head = restore_head(bert, module.verbalizer, module.head, 1, module.head_tensors)
    scores = score(bert, head, task, [{"text": "the world"}], module.calibration)
    assert torch.isfinite(scores.log_probabilities).all()


def test_one_row_is_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="two rows"):
        train(SENTIMENT, SENTIMENT_ROWS[:1], bert)


def test_more_rows_than_it_is_made_for_are_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="at most 2000 rows, not 2002: take 'plain'"):
        train(SENTIMENT, MANY_ROWS[:2] * 1001, bert)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rank": 0}, {"batch_size": 0}, {"least_rows": 0}])
def test_options_that_make_no_run_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="1 or more"):
        StrongOptions(**wrong)
