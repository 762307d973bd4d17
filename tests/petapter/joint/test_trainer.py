"""A module that trained among others is the module that trained alone, and without dropout that of `train_plain`."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Example, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.head import HeadChoice
from petapter.joint import JointRun, LowerStates, rows_without, train_jointly
from petapter.joint.memory import JointPlan
from petapter.training.trainer import EncodedRows, checked_rows, follow, plain_recipe
from petapter.training.trunk import Trunk
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf, StillOf
from tests.petapter.runtime.test_equality import TWO_MASKS, WINDOWED, WORDS
from tests.petapter.tiny_backbones import ARCHITECTURES

QUICK = TrainingOptions(steps=10, batch_size=4, adapter_lr=2e-3, head_lr=2e-3)  # as the defaults on minilm
KINDS = {
    "lora": AdapterChoice(rank=2, alpha=4.0),
    "lora-3": AdapterChoice(rank=3, alpha=7.0),
    "lora-top": AdapterChoice(rank=1, alpha=2.0, layers=(1,)),
    "ia3": AdapterChoice(kind="ia3"),
    "ia3-before": AdapterChoice(kind="ia3", ia3_place="before-activation"),
    "bitfit": AdapterChoice(kind="bitfit"),
    "pfeiffer": AdapterChoice(kind="bottleneck", reduction=4, up_std=0.02),
    "houlsby": AdapterChoice(kind="bottleneck", reduction=8, placement="houlsby", up_std=0.02),
    "none": AdapterChoice(kind="none"),
}
TAGS = TaskSpec.model_validate(
    {
        "type": "multi-label",
        "labels": {"sports": "sports", "money": "money"},
        "patterns": ["{text} It was {mask}.", "{mask} news: {text}"],
    }
)
TAG_ROWS = [
    Example({"text": text}, labels=labels)
    for text, labels in [
        ("the match had a price", ("sports", "money")),
        ("a fine goal for the team", ("sports",)),
        ("the bank and the market", ("money",)),
        ("nothing was really good", ()),
    ]
]


def run_of(backbone: Backbone, task: TaskSpec, rows: Sequence[Example], options: TrainingOptions = QUICK) -> JointRun:
    recipe = plain_recipe(options, backbone, len(rows))
    return JointRun(recipe, EncodedRows(task, rows, checked_rows(task, rows, backbone)))


def trained(runs: Sequence[JointRun], backbone: Backbone, most_slots: int | None = None) -> list[TrainedModule]:
    found = train_jointly(runs, backbone, most_slots=most_slots)
    assert all(isinstance(module, TrainedModule) for module in found)
    return [module for module in found if isinstance(module, TrainedModule)]


def assert_same(found: TrainedModule, expected: TrainedModule) -> None:
    """Weights to 1e-5, and all that does not tell of time and memory."""
    for mine, other in ((found.adapter_tensors, expected.adapter_tensors), (found.head_tensors, expected.head_tensors)):
        assert mine.keys() == other.keys()
        for key, tensor in other.items():
            torch.testing.assert_close(mine[key], tensor, rtol=0.0, atol=1e-5)
    assert (found.adapter, found.head, found.adapter_config) == (
        expected.adapter,
        expected.head,
        expected.adapter_config,
    )
    timeless = {"seconds": 0.0, "peak_memory_bytes": 0}
    assert found.training.model_copy(update=timeless) == expected.training.model_copy(update=timeless)
    for here, there in zip(found.golden.probes, expected.golden.probes, strict=True):
        assert here.log_probabilities == pytest.approx(there.log_probabilities, abs=1e-4)


def moved(module: TrainedModule, before: TrainedModule) -> float:
    """How far the weights are apart at most."""
    return max(float((module.head_tensors[key] - before.head_tensors[key]).abs().max()) for key in module.head_tensors)


def mixture(backbone: Backbone) -> list[JointRun]:
    """Seventeen runs: every kind of adapter, tasks with one and two masks, one and two patterns, windows and tags."""
    runs = [
        run_of(backbone, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, adapter=choice, seed=seed, steps=8 + seed))
        for seed, choice in enumerate(KINDS.values())
    ]
    runs += [
        run_of(backbone, TOPIC, TOPIC_ROWS, replace(QUICK, adapter=KINDS["lora"], adapter_lr=rate, seed=7))
        for rate in (2e-3, 4e-3)
    ]
    long = random.Random(0)  # noqa: S311 (of a test)
    articles = [
        Example({"text": " ".join(long.choices(WORDS, k=long.randint(1, 90)))}, label) for label in ("pos", "neg") * 4
    ]
    dropping = AdapterChoice(rank=2, alpha=4.0, dropout=0.3)
    runs += [
        run_of(backbone, WINDOWED, articles, replace(QUICK, adapter=KINDS["pfeiffer"])),
        run_of(backbone, TAGS, TAG_ROWS, replace(QUICK, adapter=KINDS["lora-3"])),
        run_of(backbone, TAGS, TAG_ROWS, replace(QUICK, adapter=KINDS["lora-top"], seed=3)),
        run_of(backbone, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, adapter=dropping)),
        run_of(backbone, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, head=HeadChoice("random"))),
        run_of(backbone, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, head=HeadChoice("mlm", "all"), clip_norm=0.1)),
    ]
    assert len(runs) == 17
    return runs


@pytest.fixture(scope="module")
def alone(bert: Backbone) -> list[TrainedModule]:
    return [module for run in mixture(bert) for module in trained([run], bert)]


@pytest.mark.parametrize("kind", KINDS)
def test_one_module_without_dropout_is_that_of_train_plain(kind: str, still_of: StillOf) -> None:
    backbone = still_of("bert")
    options = replace(QUICK, adapter=KINDS[kind])
    (found,) = trained([run_of(backbone, SENTIMENT, SENTIMENT_ROWS, options)], backbone)
    assert_same(found, train(SENTIMENT, SENTIMENT_ROWS, backbone, options))


@pytest.mark.parametrize("family", [family for family in ARCHITECTURES if family not in {"distilbert", "modernbert"}])
def test_on_every_architecture_two_patterns_and_masks_train_as_in_train_plain(family: str, still_of: StillOf) -> None:
    backbone = still_of(family)
    (found,) = trained([run_of(backbone, TWO_MASKS, TOPIC_ROWS)], backbone)
    assert_same(found, train(TWO_MASKS, TOPIC_ROWS, backbone, QUICK))


def test_sixteen_modules_of_all_kinds_come_out_as_each_alone_with_dropout(
    bert: Backbone, alone: list[TrainedModule]
) -> None:
    for found, expected in zip(trained(mixture(bert), bert), alone, strict=True):
        assert_same(found, expected)


def test_modules_that_wait_for_a_slot_come_out_the_same(bert: Backbone, alone: list[TrainedModule]) -> None:
    runs = mixture(bert)
    for found, expected in zip(trained(runs[::-1], bert, most_slots=3), alone[::-1], strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("family", ["distilbert", "modernbert", "modernbert-global", "deberta-v2", "albert"])
def test_neighbours_change_nothing_on_other_architectures(family: str, backbone_of: BackboneOf) -> None:
    backbone = backbone_of(family)
    runs = [run_of(backbone, TWO_MASKS, TOPIC_ROWS, replace(QUICK, rank=rank, seed=rank)) for rank in (2, 3, 2)]
    for found, run in zip(trained(runs, backbone), runs, strict=True):
        (by_itself,) = trained([run], backbone)
        assert_same(found, by_itself)


def test_dropout_takes_part(bert: Backbone, still_of: StillOf, alone: list[TrainedModule]) -> None:
    still = still_of("bert")
    (without,) = trained([mixture(still)[0]], still)
    assert moved(alone[0], without) > 1e-4


def test_a_run_that_starts_from_weights_starts_there(still_of: StillOf) -> None:
    still = still_of("bert")
    run = mixture(still)[0]
    (begun,) = trained([run], still)
    again = replace(run, recipe=replace(run.recipe, start=begun.adapter_tensors))
    (found,) = trained([again], still)
    assert_same(found, follow(again.recipe, SENTIMENT, SENTIMENT_ROWS, still))
    assert moved(found, begun) > 1e-4


def test_upper_layers_train_from_states_that_are_cached(still_of: StillOf) -> None:
    still = still_of("bert")
    options = [replace(QUICK, adapter=KINDS["lora-top"], seed=seed) for seed in range(3)]
    runs = [run_of(still, TOPIC, TOPIC_ROWS, each) for each in options]
    for found, own in zip(trained(runs, still), options, strict=True):
        assert_same(found, train(TOPIC, TOPIC_ROWS, still, own))


def test_rows_that_are_left_out_do_not_count(bert: Backbone) -> None:
    whole = run_of(bert, SENTIMENT, SENTIMENT_ROWS)
    fewer = [row for number, row in enumerate(SENTIMENT_ROWS) if number not in {1, 4}]
    (found,) = trained([JointRun(whole.recipe, rows_without(whole.rows, [1, 4]))], bert)
    (expected,) = trained([run_of(bert, SENTIMENT, fewer)], bert)
    assert_same(found, expected)


def test_windows_of_rows_that_stay_are_theirs(bert: Backbone) -> None:
    rows = [Example({"text": " ".join(WORDS * count)}, "pos") for count in (1, 9, 2, 8)]
    encoded = EncodedRows(WINDOWED, rows, checked_rows(WINDOWED, [*rows, SENTIMENT_ROWS[3]], bert))
    kept = rows_without(encoded, [0])
    assert kept.examples == rows[1:]
    assert kept.encoded[0].by_text()[:3] == encoded.encoded[0].by_text()[1:4]


def test_a_module_that_diverges_leaves_the_others_alone(bert: Backbone, alone: list[TrainedModule]) -> None:
    wild = run_of(bert, SENTIMENT, SENTIMENT_ROWS, replace(QUICK, adapter=KINDS["lora"], adapter_lr=1e30))
    lost, found = train_jointly([wild, mixture(bert)[0]], bert)
    assert isinstance(lost, InputError)
    assert "lower learning rate" in str(lost)
    assert isinstance(found, TrainedModule)
    assert_same(found, alone[0])


def test_little_memory_splits_the_stack_and_changes_nothing(bert: Backbone, alone: list[TrainedModule]) -> None:
    steps: list[tuple[int, int]] = []
    runs = mixture(bert)[:3]
    found = train_jointly(
        runs, bert, memory_bytes=1_000_000, on_step=lambda done, total, _: steps.append((done, total))
    )
    for module, expected in zip(found, alone[:3], strict=True):
        assert isinstance(module, TrainedModule)
        assert_same(module, expected)
    assert steps[-1] == (27, 27)
    assert len(steps) > 10


def test_texts_that_an_earlier_call_read_are_not_read_below_the_cut_again(
    bert: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    cache = Trunk.cache
    monkeypatch.setattr(Trunk, "cache", lambda self, texts: (read.append(len(texts)), cache(self, texts))[1])
    above = replace(QUICK, adapter=KINDS["lora-top"])
    run, other = (run_of(bert, SENTIMENT, SENTIMENT_ROWS, replace(above, seed=seed)) for seed in (0, 1))
    expected = [trained([each], bert)[0] for each in (run, other)]
    lower = LowerStates()
    read.clear()
    for each, alone in zip((run, other), expected, strict=True):
        (found,) = train_jointly([each], bert, lower=lower)
        assert isinstance(found, TrainedModule)
        assert_same(found, alone)
    assert read == [len(SENTIMENT_ROWS), 0]
    everywhere = run_of(bert, SENTIMENT, SENTIMENT_ROWS)
    assert_same(train_jointly([everywhere], bert, lower=lower)[0], trained([everywhere], bert)[0])


def test_what_a_token_takes_does_not_count_weights(bert: Backbone) -> None:
    def token_bytes(batch_size: int) -> int:
        plans: list[JointPlan] = []
        options = replace(QUICK, steps=1, batch_size=batch_size)
        train_jointly([run_of(bert, SENTIMENT, SENTIMENT_ROWS, options)], bert, on_plan=plans.append)
        return plans[0].token_bytes

    assert token_bytes(1) == pytest.approx(token_bytes(6), rel=0.1)


def test_memory_that_holds_no_module_is_refused(bert: Backbone) -> None:
    with pytest.raises(InputError, match="training one module takes"):
        train_jointly([run_of(bert, SENTIMENT, SENTIMENT_ROWS)], bert, memory_bytes=1000)


def test_the_backbone_is_bare_afterwards(bert: Backbone, alone: list[TrainedModule]) -> None:
    assert alone
    assert not bert.model.training
    assert not any("forward" in vars(module) for module in bert.model.modules())
    assert not any(parameter.requires_grad for parameter in bert.model.parameters())
    with Engine(bert) as engine:
        engine.load(alone[0], "first", check=True)


def test_a_backbone_that_an_engine_has_is_refused(bert: Backbone) -> None:
    with Engine(bert), pytest.raises(BackboneError, match="another Engine has this backbone"):
        train_jointly([run_of(bert, SENTIMENT, SENTIMENT_ROWS)], bert)
