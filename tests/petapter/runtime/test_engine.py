from dataclasses import replace
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, Example, ModuleInfo, Prediction, TrainedModule, save_module, train
from petapter.evaluation import Answers, evaluate_predictions, evaluate_probabilities
from petapter.head import restore_head
from petapter.task import Encoder, pad_batch
from petapter_schemas.errors import BackboneError, BackboneMismatchError, InputError, TensorFileError
from petapter_schemas.manifest import CalibrationSpec
from tests.petapter.conftest import QUICK, SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.runtime.conftest import ARTICLES, TEXTS, assert_same, inputs, load_all

Request = tuple[str, str | dict[str, str]]


def test_modules_answer_differently_from_each_other(alone: dict[str, list[Prediction]]) -> None:
    # else the tests below could not see one module answering for another
    for other in ("plain", "twin"):
        gaps = [
            abs(a.probabilities["pos"] - b.probabilities["pos"])
            for a, b in zip(alone["mood"], alone[other], strict=True)
        ]
        assert max(gaps) > 0.01


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_each_module_answers_as_if_alone_in_any_order_of_loading_and_asking(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]], order: tuple[int, ...]
) -> None:
    aliases = [list(modules)[i] for i in order]
    load_all(engine, {alias: modules[alias] for alias in aliases})
    for alias in (*aliases, *reversed(aliases)):
        assert_same(engine.predict([(alias, text) for text in inputs(alias)]), alone[alias])


@pytest.mark.parametrize("seed", range(3))
def test_mixed_requests_are_answered_in_their_order(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]], seed: int
) -> None:
    load_all(engine, modules)
    pool = [(alias, row) for alias in modules for row in range(len(TEXTS))]
    mixed = [pool[i] for i in torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()]
    found = engine.predict([(alias, inputs(alias)[row]) for alias, row in mixed])
    assert_same(found, [alone[alias][row] for alias, row in mixed])


def test_probabilities_are_those_of_the_head_on_the_adapted_backbone(
    engine: Engine, head_only: TrainedModule, bert: Backbone
) -> None:
    # reference: transformers' model and the head, one text at a time
    engine.load(head_only, "plain")
    head = restore_head(bert, head_only.verbalizer, head_only.head, 1, head_only.head_tensors)
    for text, answer in zip(TEXTS, engine.predict([("plain", text) for text in TEXTS]), strict=True):
        encoded = Encoder(bert.tokenizer, SENTIMENT.patterns[0], bert.max_tokens).encode([{"text": text}])
        with torch.no_grad():
            logits = head(bert.read(pad_batch(encoded, bert.pad_id)))[0]
        expected = torch.softmax(logits, dim=-1).tolist()
        assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-5)


def test_probabilities_are_by_label_in_label_order_and_sum_to_one(alone: dict[str, list[Prediction]]) -> None:
    for answer in alone["topic"]:
        assert list(answer.probabilities) == ["sports", "world", "money"]
        assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        assert answer.label == max(answer.probabilities, key=answer.probabilities.__getitem__)


def test_unloading_leaves_the_others_unchanged(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    load_all(engine, modules)
    for gone in ("mood", "plain", "topic"):
        engine.unload(gone)
        for alias in engine.aliases:
            assert_same(engine.predict([(alias, text) for text in inputs(alias)]), alone[alias])
    assert engine.aliases == ("twin",)


def test_unloaded_module_no_longer_answers(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    load_all(engine, modules)
    engine.unload("mood")
    with pytest.raises(InputError, match=r"no module is loaded as 'mood' \(loaded: topic, plain, twin\)"):
        engine.predict([("mood", "a")])


def test_alias_may_be_given_to_another_module_after_unloading(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    engine.load(modules["topic"], "mood")
    engine.unload("mood")
    engine.load(modules["mood"], "mood")
    assert_same(engine.predict([("mood", text) for text in TEXTS]), alone["mood"])


def test_head_only_module_answers_bare_after_the_last_adapter_is_gone(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    engine.load(modules["mood"], "mood")
    engine.load(modules["plain"], "plain")
    engine.unload("mood")
    assert_same(engine.predict([("plain", text) for text in TEXTS]), alone["plain"])


def test_predict_all_asks_every_module_for_every_text(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    load_all(engine, {alias: modules[alias] for alias in ("mood", "twin")})
    answers = engine.predict_all(TEXTS[:2])
    assert [list(answer) for answer in answers] == [["mood", "twin"]] * 2
    assert_same([answers[1]["twin"]], engine.predict([("twin", TEXTS[1])]))


def test_predict_all_may_ask_only_some_modules(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    load_all(engine, modules)
    assert [list(answer) for answer in engine.predict_all([TEXTS[0]], ["twin", "plain"])] == [["twin", "plain"]]


def test_no_texts_have_no_answers_of_any_module(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    load_all(engine, modules)
    assert engine.predict_all([]) == []
    assert engine.predict_all([], ["mood"]) == []


def test_no_requests_have_no_answers(engine: Engine) -> None:
    assert engine.predict([]) == []
    assert engine.predict_all([]) == []


def test_unknown_alias_is_an_input_error(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"no module is loaded as 'nobody' \(loaded: none\)"):
        engine.predict([("nobody", "a")])


def test_unloading_an_unknown_alias_is_an_input_error(engine: Engine) -> None:
    with pytest.raises(InputError, match="no module is loaded"):
        engine.unload("nobody")


@pytest.mark.parametrize(("given", "missing"), [("only a title", "body"), ({"body": "a"}, "title"), ({}, "title")])
def test_missing_field_is_an_input_error(
    engine: Engine, topic: TrainedModule, given: str | dict[str, str], missing: str
) -> None:
    engine.load(topic, "topic")
    with pytest.raises(InputError, match=f"'topic' needs the text fields title, body: '{missing}' is missing"):
        engine.predict([("topic", given)])


@pytest.mark.parametrize("text", ["good \ud83d", {"text": "\udcff"}])
def test_half_a_character_is_an_input_error_and_the_engine_goes_on(
    engine: Engine, modules: dict[str, TrainedModule], text: str | dict[str, str]
) -> None:
    engine.load(modules["mood"], "mood")
    with pytest.raises(InputError, match="half a character"):
        engine.predict([("mood", "fine"), ("mood", text)])
    assert [answer.alias for answer in engine.predict([("mood", "fine")])] == ["mood"]


def test_further_fields_are_ignored(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(sentiment, "mood")
    assert_same(engine.predict([("mood", {"text": "good", "id": "7"})]), engine.predict([("mood", "good")]))


def test_taken_alias_is_refused(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    engine.load(modules["mood"], "m")
    with pytest.raises(InputError, match="already loaded as 'm'"):
        engine.load(modules["topic"], "m")


def test_closed_engine_gives_the_backbone_back_bare(bert: Backbone, modules: dict[str, TrainedModule]) -> None:
    structure = [(name, type(layer)) for name, layer in bert.model.named_modules()]
    before = {name: value.clone() for name, value in bert.model.state_dict().items()}
    with Engine(bert) as engine:
        load_all(engine, modules)
        engine.predict([("mood", "a"), ("topic", ARTICLES[0])])
    assert [(name, type(layer)) for name, layer in bert.model.named_modules()] == structure
    assert all(torch.equal(value, before[name]) for name, value in bert.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in bert.model.parameters())
    assert engine.aliases == ()


def test_lost_tokens_are_reported(engine: Engine, sentiment: TrainedModule) -> None:
    # [CLS] it was [MASK] . [SEP] leaves 58 of 64 positions
    engine.load(sentiment, "mood")
    answers = engine.predict([("mood", " ".join(["good"] * 70)), ("mood", "good")])
    assert [answer.lost_tokens for answer in answers] == [12, 0]


def test_directory_of_another_backbone_is_refused(
    sentiment: TrainedModule, backbone_of: BackboneOf, tmp_path: Path
) -> None:
    save_module(sentiment, tmp_path / "m", ModuleInfo("m"))
    with Engine(backbone_of("other-bert")) as engine, pytest.raises(BackboneMismatchError):
        engine.load(tmp_path / "m", "m")


def test_module_just_trained_on_another_backbone_is_refused(sentiment: TrainedModule, backbone_of: BackboneOf) -> None:
    with Engine(backbone_of("other-bert")) as engine, pytest.raises(BackboneMismatchError, match="weights"):
        engine.load(sentiment, "m")


def test_module_whose_tensors_do_not_fit_leaves_the_others_loaded(
    engine: Engine, modules: dict[str, TrainedModule], alone: dict[str, list[Prediction]]
) -> None:
    engine.load(modules["mood"], "mood")
    wrong = replace(modules["twin"], adapter_tensors={"base_model.model.x.lora_A.weight": torch.zeros(1)})
    with pytest.raises(TensorFileError):
        engine.load(wrong, "wrong")
    assert engine.aliases == ("mood",)
    assert_same(engine.predict([("mood", text) for text in TEXTS]), alone["mood"])


def test_module_whose_tensors_do_not_fit_leaves_no_adapter_behind(
    engine: Engine, sentiment: TrainedModule, bert: Backbone
) -> None:
    with pytest.raises(TensorFileError):
        engine.load(replace(sentiment, adapter_tensors={}), "wrong")
    assert not [name for name, _ in bert.model.named_modules() if "lora" in name]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("head", {"norm": "none"}),
        ("head", {"dtype": "int8"}),
        ("head", {"activation": "invented"}),
        ("adapter", {"kind": "ia3"}),
    ],
)
def test_what_the_format_allows_but_the_engine_cannot_run_is_refused(
    engine: Engine, sentiment: TrainedModule, part: str, changed: dict[str, str]
) -> None:
    module = replace(sentiment, **{part: getattr(sentiment, part).model_copy(update=changed)})
    with pytest.raises(BackboneError):
        engine.load(module, "m")
    assert engine.aliases == ()


def test_second_engine_on_one_backbone_is_refused(engine: Engine, bert: Backbone) -> None:
    with pytest.raises(BackboneError, match="another Engine has this backbone"):
        Engine(bert)


def test_training_on_a_claimed_backbone_is_refused(engine: Engine, sentiment: TrainedModule, bert: Backbone) -> None:
    engine.load(sentiment, "mood")
    with pytest.raises(BackboneError, match="another Engine has this backbone"):
        train(SENTIMENT, SENTIMENT_ROWS, bert, QUICK)
    assert engine.predict([("mood", "good")])[0].alias == "mood"


def test_loading_leaves_the_callers_random_numbers_alone(engine: Engine, modules: dict[str, TrainedModule]) -> None:
    before = torch.get_rng_state()
    load_all(engine, modules)
    assert torch.equal(torch.get_rng_state(), before)


def test_module_abstains_below_its_threshold(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(replace(sentiment, calibration=CalibrationSpec(abstain_below=1.0)), "m")
    (answer,) = engine.predict([("m", "good")])
    assert answer.label is None
    assert set(answer.probabilities) == {"pos", "neg"}


def test_calibration_divides_by_the_temperature_and_adds_the_bias(engine: Engine, sentiment: TrainedModule) -> None:
    # hand computation: softmax(log p / T + b)
    calibration = CalibrationSpec(temperature=2.0, class_bias=(0.5, -0.5))
    engine.load(sentiment, "raw")
    engine.load(replace(sentiment, calibration=calibration), "calibrated")
    raw, calibrated = engine.predict([("raw", TEXTS[0]), ("calibrated", TEXTS[0])])
    logits = torch.tensor(list(raw.probabilities.values())).log() / 2 + torch.tensor([0.5, -0.5])
    assert list(calibrated.probabilities.values()) == pytest.approx(torch.softmax(logits, 0).tolist(), abs=1e-5)


def test_evaluation_measures_the_answers_of_the_module(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(sentiment, "mood")
    predicted = [answer.label or "" for answer in engine.predict([("mood", text) for text in TEXTS])]
    expected = evaluate_predictions(predicted, SENTIMENT_ROWS, name="rows", split="test", seeds=(0,))
    assert engine.evaluate("mood", SENTIMENT_ROWS, name="rows")[:2] == expected


def test_evaluation_measures_the_probabilities_under_the_modules_own_threshold(
    engine: Engine, sentiment: TrainedModule
) -> None:
    calibration = CalibrationSpec(temperature=0.5, abstain_below=0.6)
    engine.load(replace(sentiment, calibration=calibration), "mood")
    answers = engine.predict([("mood", text) for text in TEXTS])
    said = Answers([list(answer.probabilities.values()) for answer in answers], sentiment.task.label_names, 0.6)
    expected = evaluate_probabilities(said, SENTIMENT_ROWS, name="rows", split="test", seeds=(0,))
    figures = engine.evaluate("mood", SENTIMENT_ROWS, name="rows")
    assert figures == expected
    coverage = next(figure.value for figure in figures if figure.metric == "coverage")
    assert coverage == pytest.approx(sum(answer.label is not None for answer in answers) / len(answers))


def test_evaluation_on_a_label_of_another_task_is_an_input_error(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(sentiment, "mood")
    with pytest.raises(InputError, match="'sports' is not one of the module's"):
        engine.evaluate("mood", [Example({"text": "a match"}, "sports")], name="rows")


def test_evaluation_without_rows_is_an_input_error(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(sentiment, "mood")
    with pytest.raises(InputError, match="no rows"):
        engine.evaluate("mood", [], name="rows")


def test_more_texts_than_one_pass_holds_are_answered_alike(engine: Engine, sentiment: TrainedModule) -> None:
    # 4,096 padded tokens per pass: 400 texts of about 60 tokens need several
    engine.load(sentiment, "mood")
    texts = [" ".join(["good game"] * (1 + i % 29)) for i in range(400)]
    many = engine.predict([("mood", text) for text in texts])
    assert_same(many[:29], engine.predict([("mood", text) for text in texts[:29]]))
    assert_same(many[-29:], [engine.predict([("mood", text)])[0] for text in texts[-29:]])


def test_rows_with_labels_are_not_needed_to_ask(engine: Engine, sentiment: TrainedModule) -> None:
    engine.load(sentiment, "mood")
    assert engine.predict([("mood", Example({"text": "good"}, "pos").fields)])[0].label in {"pos", "neg"}
