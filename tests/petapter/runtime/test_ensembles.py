from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from petapter import (
    Backbone,
    Engine,
    Example,
    ModuleInfo,
    Prediction,
    TrainedModule,
    TrainingOptions,
    save_module,
    train,
)
from petapter.adapters import AdapterChoice
from petapter_schemas.errors import BackboneMismatchError, GoldenMismatchError, InputError
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.runtime.conftest import TEXTS, load_all

FIELDS = TaskSpec.model_validate(
    {
        "fields": ["title", "text"],
        "labels": {"pos": "good", "neg": "bad"},
        "patterns": ["{title} {mask} {text}", {"template": "{text} It was {mask}.", "keep": "tail"}],
    }
)


@pytest.fixture(scope="module")
def members(sentiment: TrainedModule, head_only: TrainedModule, bert: Backbone) -> dict[str, TrainedModule]:
    """Of one label set, and different in words, patterns, fields, kind and calibration."""
    rows = [Example({"title": "a match", **row.fields}, row.label) for row in SENTIMENT_ROWS]
    ia3 = TrainingOptions(steps=12, adapter_lr=0.1, adapter=AdapterChoice(kind="ia3"), seed=4)
    calibrated = CalibrationSpec(temperature=0.5, class_bias=(0.3, -0.3), abstain_below=0.9)
    return {
        "lora": sentiment,
        "head": TrainedModule(**{**head_only.__dict__, "calibration": calibrated}),
        "ia3": train(FIELDS, rows, bert, ia3),
    }


INPUTS = [{"title": "the market", "text": text} for text in TEXTS]


def alone(bert: Backbone, module: TrainedModule) -> list[Prediction]:
    with Engine(bert) as engine:
        engine.load(module, "m")
        return engine.predict([("m", text) for text in INPUTS])


def mean(answers: Sequence[Prediction], weights: Sequence[float]) -> dict[str, float]:
    total = sum(weights)
    return {
        label: sum(w * answer.probabilities[label] for w, answer in zip(weights, answers, strict=True)) / total
        for label in answers[0].probabilities
    }


@pytest.mark.parametrize("weights", [None, (0.7, 0.2, 0.1), (5.0, 3.0, 2.0), (0.0, 1.0, 0.0)])
def test_an_ensemble_answers_the_weighted_mean(
    weights: tuple[float, ...] | None, bert: Backbone, members: dict[str, TrainedModule]
) -> None:
    each = [alone(bert, module) for module in members.values()]
    with Engine(bert) as engine:
        engine.load_ensemble(members, "both", weights)
        answers = engine.predict([("both", text) for text in INPUTS])
    for row, answer in enumerate(answers):
        expected = mean([said[row] for said in each], weights or (1, 1, 1))
        assert answer.alias == "both"
        assert answer.probabilities == pytest.approx(expected, abs=1e-6)
        assert answer.label == max(expected, key=expected.__getitem__)
        assert answer.lost_tokens == max(said[row].lost_tokens for said in each)


def test_it_answers_the_same_in_any_mixture(
    engine: Engine, modules: dict[str, TrainedModule], members: dict[str, TrainedModule]
) -> None:
    engine.load_ensemble(members, "both")
    before = engine.predict([("both", text) for text in INPUTS])
    load_all(engine, modules)
    mixed = engine.predict(
        [pair for text in INPUTS for pair in (("mood", text["text"]), ("both", text), ("both/lora", text))]
    )
    for there, (mood, here, member) in zip(before, zip(mixed[::3], mixed[1::3], mixed[2::3], strict=True), strict=True):
        assert here.probabilities == pytest.approx(there.probabilities, abs=1e-5)
        assert mood.probabilities == pytest.approx(member.probabilities, abs=1e-5)


def test_all_are_asked_by_the_ensembles_alias(
    engine: Engine, modules: dict[str, TrainedModule], members: dict[str, TrainedModule]
) -> None:
    engine.load(modules["mood"], "mood")
    engine.load_ensemble(members, "both")
    engine.load(modules["plain"], "plain")
    assert engine.aliases == ("mood", "both", "plain")
    assert list(engine.predict_all(INPUTS[:1])[0]) == ["mood", "both", "plain"]
    assert engine.stats().modules == 5


def test_members_run_in_one_pass(engine: Engine, members: dict[str, TrainedModule]) -> None:
    engine.load_ensemble(members, "both")
    engine.predict([("both", text) for text in INPUTS])
    assert engine.stats().encodings == 4 * len(INPUTS)  # one, one and two patterns


def test_a_text_alone_is_the_first_field_of_each_member(
    engine: Engine, sentiment: TrainedModule, head_only: TrainedModule
) -> None:
    engine.load_ensemble({"a": sentiment, "b": head_only}, "both")
    assert engine.predict([("both", "a fine game")])[0].label in {"pos", "neg"}


def test_a_missing_field_is_told(engine: Engine, members: dict[str, TrainedModule]) -> None:
    engine.load_ensemble(members, "both")
    with pytest.raises(InputError, match="'title' is missing"):
        engine.predict([("both", {"text": "a fine game"})])


def test_evaluate_measures_the_ensemble(
    engine: Engine, sentiment: TrainedModule, head_only: TrainedModule, modules: dict[str, TrainedModule]
) -> None:
    engine.load_ensemble({"a": sentiment, "b": head_only, "c": modules["twin"]}, "both")
    figures = engine.evaluate("both", SENTIMENT_ROWS, name="rows")
    assert figures[0].metric == "accuracy"
    assert figures[0].seeds == (0, 5)


def multi_label(bert: Backbone, seed: int) -> TrainedModule:
    task = TaskSpec.model_validate(SENTIMENT.model_dump() | {"type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS]
    return train(task, rows, bert, TrainingOptions(steps=6, rank=2, alpha=4.0, head_lr=0.05, seed=seed))


def test_a_multi_label_ensemble_averages_label_by_label(bert: Backbone) -> None:
    members = {"a": multi_label(bert, 0), "b": multi_label(bert, 1)}
    each = [alone(bert, module) for module in members.values()]
    expected = [mean(pair, (0.7, 0.3)) for pair in zip(*each, strict=True)]
    limit = min(row["pos"] for row in expected) + 1e-4
    with Engine(bert) as engine:
        engine.load_ensemble(members, "both", (0.7, 0.3), thresholds=(limit, 1.0))
        answers = engine.predict([("both", text) for text in INPUTS])
        engine.load_ensemble(members, "half")
        halves = engine.predict([("half", text) for text in INPUTS])
    for answer, row in zip(answers, expected, strict=True):
        assert answer.probabilities == pytest.approx(row, abs=1e-6)
        assert answer.labels == (("pos",) if row["pos"] >= limit else ())
    assert all(set(half.labels) == {name for name, p in half.probabilities.items() if p >= 0.5} for half in halves)


def test_unloading_takes_the_members_too(engine: Engine, members: dict[str, TrainedModule]) -> None:
    engine.load_ensemble(members, "both")
    with pytest.raises(InputError, match="member of the ensemble 'both'"):
        engine.unload("both/lora")
    engine.unload("both")
    assert (engine.aliases, engine.stats().modules) == ((), 0)


def test_an_alias_in_use_is_refused(engine: Engine, members: dict[str, TrainedModule]) -> None:
    engine.load_ensemble(members, "both")
    with pytest.raises(InputError, match="already loaded as 'both'"):
        engine.load(members["lora"], "both")
    with pytest.raises(InputError, match="already loaded as 'both'"):
        engine.load_ensemble(members, "both")


@pytest.mark.parametrize(
    ("names", "weights", "thresholds", "reason"),
    [
        (("mood",), None, None, "two modules or more"),
        (("mood", "topic"), None, None, "other labels"),
        (("mood", "plain"), (1.0,), None, "1 weights for 2 modules"),
        (("mood", "plain"), (0.0, 0.0), None, "weights must be numbers of at least 0"),
        (("mood", "plain"), (-1.0, 2.0), None, "weights must be numbers of at least 0"),
        (("mood", "plain"), None, (0.5, 0.5), "multi-label"),
    ],
)
def test_what_cannot_answer_together_is_refused_and_nothing_stays(
    names: tuple[str, ...],
    weights: tuple[float, ...] | None,
    thresholds: tuple[float, ...] | None,
    reason: str,
    engine: Engine,
    modules: dict[str, TrainedModule],
) -> None:
    with pytest.raises(InputError, match=reason):
        engine.load_ensemble({name: modules[name] for name in names}, "both", weights, thresholds=thresholds)
    assert engine.stats().modules == 0


def test_a_member_of_another_backbone_leaves_nothing_behind(
    engine: Engine, sentiment: TrainedModule, backbone_of: BackboneOf
) -> None:
    stranger = train(SENTIMENT, SENTIMENT_ROWS, backbone_of("other-bert"), TrainingOptions(steps=1, rank=0))
    with pytest.raises(BackboneMismatchError):
        engine.load_ensemble({"a": sentiment, "b": stranger}, "both")
    assert engine.stats().modules == 0


def test_check_reproduces_the_golden_outputs_of_every_member(
    engine: Engine, sentiment: TrainedModule, head_only: TrainedModule, tmp_path: Path
) -> None:
    save_module(sentiment, tmp_path / "a", ModuleInfo("a"))
    engine.load_ensemble({"a": tmp_path / "a", "b": head_only}, "both", check=True)
    changed = {name: tensor + 1 for name, tensor in sentiment.adapter_tensors.items()}
    broken = TrainedModule(**{**sentiment.__dict__, "adapter_tensors": changed})
    with pytest.raises(GoldenMismatchError):
        engine.load_ensemble({"a": head_only, "b": broken}, "other", check=True)
    assert engine.aliases == ("both",)
    assert torch.is_inference_mode_enabled() is False
