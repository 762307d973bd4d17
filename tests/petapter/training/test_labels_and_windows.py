"""Modules for several labels per text and for texts read in windows: trained, saved, opened and asked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, Example, ModuleInfo, TrainingOptions, save_module, train
from petapter.task import EncodedText, Encoder
from petapter.training import trainer
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

TOPICS = TaskSpec.model_validate(
    {
        "type": "multi-label",
        "labels": {"sports": "sports", "money": "money", "good": "good"},
        "patterns": ["{text} It was {mask}."],
    }
)
TOPIC_ROWS = [
    Example({"text": text}, labels=labels)
    for text, labels in [
        ("the match was great", ("sports", "good")),
        ("a great goal", ("sports", "good")),
        ("the bank and the market", ("money",)),
        ("business and price", ("money",)),
        ("the team price was great", ("sports", "money", "good")),
        ("the bank in that match", ("sports", "money")),
        ("it was that", ()),
        ("is this it", ()),
    ]
]
FIT = TrainingOptions(steps=120, batch_size=8, adapter_lr=0.01, head_lr=0.01, label_smoothing=0.0)
WINDOWED = TaskSpec.model_validate(
    {
        "labels": {"pos": "great", "neg": ["awful", "bad"]},
        "patterns": [{"template": "{text} It was {mask}.", "keep": "windows"}],
    }
)
LONG = " ".join(["good team"] * 80)  # 160 tokens; 58 fit


def test_multi_label_module_gives_the_training_rows_their_labels(bert: Backbone) -> None:
    module = train(TOPICS, TOPIC_ROWS, bert, FIT)
    with Engine(bert) as engine:
        engine.load(module, "m")
        answers = engine.predict([("m", row.fields) for row in TOPIC_ROWS])
    assert [answer.labels for answer in answers] == [row.labels for row in TOPIC_ROWS]


def test_multi_label_module_counts_the_rows_of_each_label(bert: Backbone) -> None:
    facts = train(TOPICS, TOPIC_ROWS, bert, replace(FIT, steps=1)).training
    assert facts.examples_per_class == (4, 4, 3)


def test_saved_multi_label_module_answers_alike_and_reproduces_its_golden_outputs(
    bert: Backbone, tmp_path: Path
) -> None:
    module = train(TOPICS, TOPIC_ROWS, bert, replace(FIT, steps=8))
    module = replace(module, calibration=CalibrationSpec(thresholds=(0.1, 0.2, 0.3)))
    save_module(module, tmp_path / "topics", ModuleInfo("topics"))
    with Engine(bert) as engine:
        engine.load(module, "memory")
        engine.load(tmp_path / "topics", "disk", check=True)
        answers = engine.predict_all([row.fields for row in TOPIC_ROWS])
    for answer in answers:
        assert answer["disk"].labels == answer["memory"].labels
        assert answer["disk"].probabilities == pytest.approx(answer["memory"].probabilities, abs=1e-6)


def test_row_of_weight_nearly_zero_is_as_if_it_was_not_there(bert: Backbone) -> None:
    wrong = [Example({"text": "the match was very good"}, "neg", 1e-9)]
    rows = [replace(row, weight=1.0) for row in SENTIMENT_ROWS[1:]]
    module = train(SENTIMENT, [*rows, *wrong, SENTIMENT_ROWS[0]], bert, replace(FIT, steps=60))
    with Engine(bert) as engine:
        engine.load(module, "m")
        (answer,) = engine.predict([("m", wrong[0].fields)])
    assert answer.label == "pos"


def test_windows_of_a_text_are_drawn_evenly_and_a_single_one_without_a_draw() -> None:
    choose = torch.Generator().manual_seed(0)
    items = [EncodedText((window,), (0,), 0) for window in range(4)]
    drawn = [trainer.drawn_window(items, choose) for _ in range(4000)]
    # binomial with n 4000 and p 1/4 has a standard deviation of 27
    assert all(abs(drawn.count(item) - 1000) < 150 for item in items)
    before = choose.get_state()
    assert trainer.drawn_window(items[:1], choose) == items[0]
    assert torch.equal(choose.get_state(), before)


def test_every_window_of_a_long_text_is_trained_on(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Example({"text": LONG}, "pos"), Example({"text": "a bad game"}, "neg")]
    windows = Encoder(bert.tokenizer, WINDOWED.patterns[0], bert.max_tokens).encode_windows([rows[0].fields])
    assert len(windows.encoded) == 5  # starts 0, 29, 58, 87 and 102
    trained_on: set[EncodedText] = set()
    draw = trainer.drawn_window

    def watched(items: Sequence[EncodedText], choose: torch.Generator) -> EncodedText:
        trained_on.add(item := draw(items, choose))
        return item

    monkeypatch.setattr(trainer, "drawn_window", watched)
    train(WINDOWED, rows, bert, replace(FIT, steps=60, batch_size=2))
    assert trained_on >= set(windows.encoded)


def test_short_texts_train_to_the_same_module_with_windows_as_without(bert: Backbone) -> None:
    plain = train(SENTIMENT, SENTIMENT_ROWS, bert, replace(FIT, steps=6))
    windowed = train(WINDOWED, SENTIMENT_ROWS, bert, replace(FIT, steps=6))
    for name, tensor in plain.head_tensors.items():
        assert torch.equal(windowed.head_tensors[name], tensor)


def test_windowed_module_reads_the_end_of_a_long_text(bert: Backbone) -> None:
    module = train(WINDOWED, SENTIMENT_ROWS, bert, replace(FIT, steps=60))
    with Engine(bert) as engine:
        engine.load(module, "m")
        one, other = engine.predict([("m", "the " * 100 + "good game " * 15), ("m", "the " * 100 + "bad bank " * 15)])
    assert one.lost_tokens == other.lost_tokens == 0
    assert one.probabilities["pos"] > other.probabilities["pos"]
