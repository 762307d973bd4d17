"""A backbone in bfloat16 answers what it answers in float32, but for the rounding, and trains nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from petapter import Backbone, Engine, StrongOptions, TrainedModule, TrainingOptions, train
from petapter.head import restore_head
from petapter.scoring import score
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import BackboneError
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.runtime.test_equality import modules_for, texts_for
from tests.petapter.tiny_backbones import ARCHITECTURES

ROUNDING = 0.05
"""Of probabilities, for 8 bits of precision in two layers with large random adapters."""


def in_bfloat16(directories: dict[str, Path], family: str) -> Backbone:
    return Backbone.load(directories[family], device="cpu", precision="bfloat16")


def answers(backbone: Backbone, modules: dict[str, TrainedModule]) -> torch.Tensor:
    with Engine(backbone) as engine:
        for alias, module in modules.items():
            engine.load(module, alias)
        asked = [(alias, text) for alias, module in modules.items() for text in texts_for(module.task, 5, 2)]
        said = [answer.probabilities for answer in engine.predict(asked)]
    widest = max(map(len, said))
    return torch.tensor([[*each.values(), *[0.0] * (widest - len(each))] for each in said])


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_answers_in_bfloat16_are_close_to_those_in_float32(
    directories: dict[str, Path], backbone_of: BackboneOf, family: str
) -> None:
    modules = modules_for(backbone_of(family))
    half, full = answers(in_bfloat16(directories, family), modules), answers(backbone_of(family), modules)
    assert not torch.equal(half, full)
    assert (half - full).abs().mean() < ROUNDING / 5
    sure = full.topk(2).values.diff(dim=1).abs().squeeze(1) > 2 * ROUNDING
    assert sure.sum() > len(sure) / 4
    assert (half.argmax(dim=1) == full.argmax(dim=1))[sure].float().mean() > 0.95


def test_adapters_take_half_the_bytes_in_bfloat16(directories: dict[str, Path], bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, TrainingOptions(steps=1, rank=8))
    taken = []
    for backbone in (bert, in_bfloat16(directories, "bert")):
        with Engine(backbone) as engine:
            engine.load(module, "m")
            lora = engine.stats().resident_bytes
        with Engine(backbone) as engine:
            engine.load(without_adapter(module), "m")
            taken.append(lora - engine.stats().resident_bytes)
    assert taken[0] == 2 * taken[1] > 0


def without_adapter(module: TrainedModule) -> TrainedModule:
    return replace(module, adapter=AdapterSpec(kind="none", parameters=0), adapter_tensors={}, adapter_config=None)


def test_scores_outside_the_engine_are_close_too(directories: dict[str, Path], bert: Backbone) -> None:
    module = train(SENTIMENT, SENTIMENT_ROWS, bert, StrongOptions(delta="never"))
    said = []
    for backbone in (bert, in_bfloat16(directories, "bert")):
        head = restore_head(backbone, module.verbalizer, module.head, 1, module.head_tensors)
        said.append(score(backbone, head, module.task, texts_for(SENTIMENT, 5, 0), None).log_probabilities.exp())
    torch.testing.assert_close(said[1], said[0], rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("options", [TrainingOptions(steps=1), StrongOptions()], ids=["plain", "strong"])
def test_backbone_in_bfloat16_trains_nothing(
    directories: dict[str, Path], options: TrainingOptions | StrongOptions
) -> None:
    with pytest.raises(BackboneError, match="loaded in bfloat16, which is for answers: load it in float32"):
        train(SENTIMENT, SENTIMENT_ROWS, in_bfloat16(directories, "bert"), options)
