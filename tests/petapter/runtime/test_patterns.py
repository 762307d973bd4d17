"""A module asked in some of its patterns says what these patterns say."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Engine, ModuleInfo, StrongOptions, TrainedModule, TrainingOptions, save_module, train
from petapter.adapters import AdapterSlots, peft_config
from petapter.head import restore_head
from petapter.scoring import calibrated
from petapter.task import Encoder, pad_batch
from petapter.trained import with_patterns
from petapter_schemas.errors import GoldenMismatchError, InputError
from petapter_schemas.manifest import CalibrationSpec
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.runtime.conftest import TEXTS

THREE = TaskSpec.model_validate(
    {
        **SENTIMENT.model_dump(),
        "patterns": ["{text} It was {mask}.", "{mask} : {text}", "{text} not a {mask} {mask} game"],
    }
)
CALIBRATION = CalibrationSpec(temperature=0.7, class_bias=(0.3, -0.2), abstain_below=0.1, abstain_error_rate=0.05)


@pytest.fixture(scope="module")
def strong(bert: Backbone) -> TrainedModule:
    """With a label map, whose biases are by pattern."""
    module = train(THREE, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    generator = torch.Generator().manual_seed(1)
    biases = torch.randn(3, 2, generator=generator)
    return replace(module, calibration=CALIBRATION, head_tensors={**module.head_tensors, "labels.bias": biases})


@pytest.fixture(scope="module")
def plain(bert: Backbone) -> TrainedModule:
    """With a LoRA that matters, and without a label map."""
    module = train(THREE, SENTIMENT_ROWS, bert, TrainingOptions(steps=2, rank=2))
    generator = torch.Generator().manual_seed(2)
    drawn = {key: torch.randn(t.shape, generator=generator) * 0.3 for key, t in module.adapter_tensors.items()}
    return replace(module, adapter_tensors=drawn)


def by_pattern(backbone: Backbone, module: TrainedModule) -> list[torch.Tensor]:
    """Reference: what the whole head says in each pattern alone, log-probabilities [N, L] before calibration."""
    slots = AdapterSlots(backbone.model)
    try:
        if module.adapter.kind != "none":
            slots.add("alone", peft_config(module.adapter))
            slots.write("alone", module.adapter_tensors)
        head = restore_head(backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors)
        said = []
        for number, pattern in enumerate(module.task.patterns):
            encoded = Encoder(backbone.tokenizer, pattern, backbone.max_tokens).encode([{"text": t} for t in TEXTS])
            with torch.no_grad():
                reading = backbone.read(pad_batch(encoded, backbone.pad_id), head.shape.pool_layers)
                said.append(torch.log_softmax(head(reading, number), dim=-1))
        return said
    finally:
        slots.close()


def mean_of(said: Sequence[torch.Tensor], module: TrainedModule) -> torch.Tensor:
    return torch.softmax(calibrated(torch.stack(list(said)).mean(dim=0), module.calibration), dim=-1)


def asked(backbone: Backbone, module: TrainedModule, patterns: Sequence[int] | None) -> torch.Tensor:
    with Engine(backbone) as engine:
        engine.load(module, "m", patterns=patterns)
        return torch.tensor([list(p.probabilities.values()) for p in engine.predict([("m", t) for t in TEXTS])])


@pytest.mark.parametrize("name", ["strong", "plain"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_pattern_says_what_its_own_score_says(
    bert: Backbone, request: pytest.FixtureRequest, name: str, number: int
) -> None:
    module: TrainedModule = request.getfixturevalue(name)
    expected = mean_of([by_pattern(bert, module)[number]], module)
    torch.testing.assert_close(asked(bert, module, [number]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["strong", "plain"])
@pytest.mark.parametrize("chosen", [(0, 2), (1, 2), (2, 0)])
def test_several_patterns_are_averaged_and_no_others(
    bert: Backbone, request: pytest.FixtureRequest, name: str, chosen: tuple[int, ...]
) -> None:
    module: TrainedModule = request.getfixturevalue(name)
    said = by_pattern(bert, module)
    expected = mean_of([said[number] for number in chosen], module)
    torch.testing.assert_close(asked(bert, module, chosen), expected, rtol=0, atol=1e-5)


def test_patterns_answer_differently_from_each_other(bert: Backbone, strong: TrainedModule) -> None:
    # else the tests above could not see one pattern answering for another
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert (asked(bert, strong, [one]) - asked(bert, strong, [other])).abs().max() > 0.01


def test_all_patterns_are_the_module_itself(bert: Backbone, strong: TrainedModule) -> None:
    torch.testing.assert_close(asked(bert, strong, [0, 1, 2]), asked(bert, strong, None), rtol=0, atol=1e-6)


def test_same_module_in_several_choices_side_by_side(bert: Backbone, strong: TrainedModule) -> None:
    choices = {"all": None, "first": [0], "rest": [1, 2]}
    with Engine(bert) as engine:
        for alias, chosen in choices.items():
            engine.load(strong, alias, patterns=chosen)
        answers = engine.predict_all(TEXTS)
    for alias, chosen in choices.items():
        found = torch.tensor([list(answer[alias].probabilities.values()) for answer in answers])
        torch.testing.assert_close(found, asked(bert, strong, chosen), rtol=0, atol=1e-5)


def test_multi_label_patterns_are_averaged_as_logits(bert: Backbone, plain: TrainedModule) -> None:
    # hand computation: of a single pattern, the sigmoid of its logits
    several = replace(plain, task=plain.task.model_copy(update={"type": "multi-label"}))
    said = asked(bert, several, [1])
    logits = torch.logit(said.double())
    torch.testing.assert_close(torch.log_softmax(logits, -1).float(), by_pattern(bert, plain)[1], rtol=0, atol=1e-4)


def test_directory_is_asked_alike_and_its_golden_outputs_are_those_of_all_patterns(
    bert: Backbone, plain: TrainedModule, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = train(THREE, SENTIMENT_ROWS, bert, TrainingOptions(steps=2, rank=2))
    directory = tmp_path_factory.mktemp("module") / "m"
    save_module(module, directory, ModuleInfo("m"))
    with Engine(bert) as engine:
        engine.load(directory, "m", check=True, patterns=[2])
        found = torch.tensor([list(p.probabilities.values()) for p in engine.predict([("m", t) for t in TEXTS])])
    torch.testing.assert_close(found, mean_of([by_pattern(bert, module)[2]], module), rtol=0, atol=1e-5)
    with Engine(bert) as engine:
        with pytest.raises(GoldenMismatchError):
            engine.load(replace(plain, golden=module.golden), "other", check=True, patterns=[2])
        assert engine.aliases == ()


@pytest.mark.parametrize("chosen", [[], [3], [-1], [0, 0], [0, 1, 2, 3]])
def test_choice_that_the_module_has_not_is_refused(bert: Backbone, strong: TrainedModule, chosen: list[int]) -> None:
    with Engine(bert) as engine:
        with pytest.raises(InputError, match="the module has 3, numbered from 0"):
            engine.load(strong, "m", patterns=chosen)
        assert engine.aliases == ()


def test_chosen_module_promises_no_error_rate(strong: TrainedModule) -> None:
    chosen = with_patterns(strong, [0])
    assert chosen.calibration == CALIBRATION.model_copy(update={"abstain_error_rate": None})
    assert chosen.head_tensors["labels.bias"].shape == (1, 2)
    assert chosen.head.parameters == sum(tensor.numel() for tensor in chosen.head_tensors.values())
    assert strong.head_tensors["labels.bias"].shape == (3, 2)
