"""A module says in any mixture what it says alone, by peft's own layers, one after the other and padded."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, Prediction, StrongOptions, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice, AdapterSlots, adapter_spec, peft_config
from petapter.adapters.architectures import places
from petapter.head import HeadChoice, restore_head
from petapter.runtime.work import Work
from petapter.scoring import score
from petapter_schemas.errors import BackboneError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, HEADLESS

KINDS: dict[str, AdapterChoice] = {
    "lora": AdapterChoice(rank=8),
    "lora-3": AdapterChoice(rank=3, alpha=7.0),
    "lora-top": AdapterChoice(rank=1, alpha=2.0, layers=(1,)),
    "ia3": AdapterChoice(kind="ia3"),
    "ia3-before": AdapterChoice(kind="ia3", ia3_place="before-activation"),
    "bitfit": AdapterChoice(kind="bitfit"),
    "pfeiffer": AdapterChoice(kind="bottleneck", reduction=4),
    "houlsby": AdapterChoice(kind="bottleneck", reduction=8, placement="houlsby"),
    "none": AdapterChoice(kind="none"),
}
TWO_MASKS = TaskSpec.model_validate(
    {
        **TOPIC.model_dump(),
        "labels": {"sports": ["great", "bad"], "world": "awful", "money": "sports"},
        "patterns": [
            "{title} {mask} {mask} news: {body}",
            {"template": "{body} It was {mask} {mask}.", "keep": "tail"},
        ],
    }
)
WINDOWED = TaskSpec.model_validate(
    {
        **SENTIMENT.model_dump(),
        "patterns": [
            {"template": "{text} It was {mask}.", "keep": "windows", "windows": {"pool": "max"}},
            "{mask} : {text}",
        ],
    }
)
WORDS = ("the", "match", "was", "very", "good", "bad", "fine", "game", "not", "a", "price", "bank", "market", "ball")


def texts_for(task: TaskSpec, count: int, seed: int, longest: int = 90) -> list[dict[str, str]]:
    draw = random.Random(seed)  # noqa: S311 (of a test)
    return [
        {name: " ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for name in task.fields} for _ in range(count)
    ]


def with_adapter(module: TrainedModule, backbone: Backbone, choice: AdapterChoice, seed: int) -> TrainedModule:
    """The module with random numbers in an adapter of another kind, large enough to tell."""
    spec = adapter_spec(choice, backbone.model)
    if spec.kind == "none":
        return replace(module, adapter=spec, adapter_tensors={})
    slots = AdapterSlots(backbone.model)
    slots.add("shape", peft_config(spec))
    shapes = slots.read("shape")
    slots.close()
    generator = torch.Generator().manual_seed(seed)
    tensors = {key: torch.randn(tensor.shape, generator=generator) * 0.4 for key, tensor in shapes.items()}
    return replace(module, adapter=spec, adapter_tensors=tensors)


def alone(backbone: Backbone, module: TrainedModule, texts: Sequence[dict[str, str]]) -> torch.Tensor:
    """Reference: peft's layers in the model, the head as it trains, padded batches; probabilities [N, L]."""
    slots = AdapterSlots(backbone.model)
    try:
        head = restore_head(backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors)
        if module.adapter.kind != "none":
            slots.add("alone", peft_config(module.adapter))
            slots.write("alone", module.adapter_tensors)
        return score(backbone, head, module.task, texts, module.calibration).log_probabilities.exp()
    finally:
        slots.close()


def modules_for(backbone: Backbone) -> dict[str, TrainedModule]:
    """Every kind of adapter that the architecture can have, under heads of every sort, of three tasks."""
    random_head = HeadChoice("random")
    own = {"head": random_head} if not backbone.has_mlm_head else {}
    bases = [
        train(TWO_MASKS, TOPIC_ROWS, backbone, TrainingOptions(steps=1, rank=0, **own)),  # type: ignore[arg-type]
        train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0, head=random_head)),
        train(WINDOWED, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0, **own)),  # type: ignore[arg-type]
    ]
    if backbone.model.config.model_type != "albert":  # which may give fewer hidden states than it has layers
        bases.append(train(SENTIMENT, SENTIMENT_ROWS, backbone, StrongOptions(delta="never")))
    made: dict[str, TrainedModule] = {}
    for number, (name, choice) in enumerate(KINDS.items()):
        for turn in (0, 1):
            base = bases[(number + turn) % len(bases)]
            try:
                made[f"{name}-{turn}"] = with_adapter(base, backbone, choice, seed=10 * number + turn)
            except BackboneError:
                continue  # a kind that the architecture cannot have: petapter.adapters.architectures says why
    return made


def assert_equal(found: Sequence[Prediction], expected: torch.Tensor) -> None:
    here = torch.tensor([list(answer.probabilities.values()) for answer in found])
    torch.testing.assert_close(here, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS, "modernbert-global"])
def test_every_kind_of_module_says_in_a_mixture_what_it_says_alone(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    modules = modules_for(backbone)
    assert len({module.adapter.kind for module in modules.values()}) >= 3
    asked = {alias: texts_for(module.task, 5, seed) for seed, (alias, module) in enumerate(modules.items())}
    expected = {alias: alone(backbone, modules[alias], texts) for alias, texts in asked.items()}
    requests = [(alias, text) for alias, texts in asked.items() for text in texts]
    order = torch.randperm(len(requests), generator=torch.Generator().manual_seed(0)).tolist()
    with Engine(backbone) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        mixed = engine.predict([requests[number] for number in order])
        answers = [mixed[order.index(number)] for number in range(len(requests))]
        for position, alias in enumerate(asked):
            assert_equal(answers[5 * position : 5 * position + 5], expected[alias])
        assert_equal(engine.predict([(alias, text) for text in asked[alias]]), expected[alias])


@pytest.mark.parametrize("family", [*ARCHITECTURES, "modernbert-global"])
def test_logits_of_a_mixture_are_those_of_each_module_alone(backbone_of: BackboneOf, family: str) -> None:
    modules = modules_for(backbone_of(family))
    with torch.inference_mode(), Engine(backbone_of(family)) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)

        def logits(aliases: Sequence[str]) -> list[torch.Tensor]:
            work = Work()
            for alias in aliases:
                work.add(engine._modules[alias], texts_for(modules[alias].task, 3, 1, 20))
            said = engine._run(work)
            return [said[[item.module == engine._modules[alias].number for item in work.items]] for alias in aliases]

        for alias, mixed in zip(modules, logits([*modules]), strict=True):
            labels = len(modules[alias].task.labels)
            torch.testing.assert_close(mixed[:, :labels], logits([alias])[0][:, :labels], rtol=1e-5, atol=1e-5)


def test_answers_do_not_depend_on_how_passes_are_cut(bert: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = modules_for(bert)
    asked = [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, 3, 1)]
    with Engine(bert) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        whole = engine.predict(asked)
        for tokens in (1, 100, 700):
            monkeypatch.setattr(engine._runner, "ways", replace(engine._runner.ways, tokens=tokens))
            for here, there in zip(engine.predict(asked), whole, strict=True):
                assert here.probabilities == pytest.approx(there.probabilities, abs=1e-5)


def test_same_module_answers_alike_wherever_it_is_loaded(bert: Backbone) -> None:
    base = train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    linear = AdapterChoice(rank=1, targets=places("bert", "lora").linear)
    texts = texts_for(SENTIMENT, 4, 3)
    three = [with_adapter(base, bert, linear, seed) for seed in range(3)]
    with Engine(bert) as engine:
        for number in range(60):
            engine.load(three[number % 3], f"m{number}")
        found = engine.predict([(f"m{number}", text) for number in range(60) for text in texts])
    for number in range(3, 60):
        for here, there in zip(found[4 * number : 4 * number + 4], found[4 * (number % 3) :], strict=False):
            assert here.probabilities == pytest.approx(there.probabilities, abs=1e-6)


def test_first_and_thousandth_module_answer_alike(bert: Backbone) -> None:
    base = train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    asked, other = (with_adapter(base, bert, AdapterChoice(rank=2), seed) for seed in (0, 1))
    texts = texts_for(SENTIMENT, 4, 3)
    expected = alone(bert, asked, texts)
    with Engine(bert) as engine:
        for number in range(1000):
            engine.load(asked if number in {0, 999} else other, f"m{number}")
        for alias in ("m0", "m999"):
            assert_equal(engine.predict([(alias, text) for text in texts]), expected)
        everyone = engine.predict([(f"m{number}", text) for number in range(1000) for text in texts])
    assert_equal(everyone[:4], expected)
    assert_equal(everyone[-4:], expected)
