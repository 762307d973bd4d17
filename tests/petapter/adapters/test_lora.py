import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForMaskedLM

from petapter import Backbone, ModuleInfo, TrainedModule, save_module
from petapter.adapters import AdapterChoice, AdapterSlots, adapter_spec, check_config, config_values, peft_config
from petapter.training import TrainingOptions, train
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import ManifestError
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, BackboneOf
from tests.petapter.tiny_backbones import FAMILIES

SPEC = AdapterSpec(kind="lora", rank=4, alpha=8.0, targets=("query", "value"), parameters=1)


def stored(**changed: object) -> dict[str, object]:
    """What adapter_config.json says for SPEC, but for some fields."""
    return json.loads(json.dumps(config_values(peft_config(SPEC)))) | changed


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_opens_a_saved_module_and_computes_the_same(
    backbone_of: BackboneOf, directories: dict[str, Path], tmp_path: Path, family: str
) -> None:
    # reference: peft.PeftModel.from_pretrained on a model that petapter never touched
    backbone = backbone_of(family)
    options = TrainingOptions(steps=4, batch_size=4, adapter_lr=0.05)
    task = SENTIMENT.model_copy(update={"labels": tuple(_first_word(label) for label in SENTIMENT.labels)})
    trained = train(task, SENTIMENT_ROWS, backbone, options)
    save_module(trained, tmp_path / "module", ModuleInfo("mood"))
    fresh = AutoModelForMaskedLM.from_pretrained(directories[family]).eval()
    ids = torch.tensor([backbone.tokenizer("the match was good")["input_ids"]])
    bare = fresh.base_model(ids).last_hidden_state
    theirs = PeftModel.from_pretrained(fresh, tmp_path / "module").eval().base_model.model.base_model(ids)
    slots = AdapterSlots(backbone.model)
    slots.add("a", peft_config(trained.adapter))
    slots.write("a", trained.adapter_tensors)
    ours = backbone.model.base_model(ids).last_hidden_state
    slots.close()
    torch.testing.assert_close(ours, theirs.last_hidden_state, atol=1e-5, rtol=0)
    assert float((ours - bare).detach().abs().max()) > 1e-3


def _first_word(label: object) -> object:
    return label.model_copy(update={"words": label.words[:1]})


def test_own_configuration_is_accepted() -> None:
    check_config(SPEC, stored())


@pytest.mark.parametrize(
    "changed",
    [
        {"lora_dropout": 0.3},
        {"base_model_name_or_path": "acme/other"},
        {"inference_mode": False},
        {"peft_version": "0.1"},
        {"target_modules": ["value", "query"]},
        {"lora_alpha": 8},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_field_that_changes_nothing_at_inference_may_differ(changed: dict[str, object]) -> None:
    check_config(SPEC, stored(**changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"rank_pattern": {"query": 2}},
        {"alpha_pattern": {"query": 2}},
        {"target_modules": ["query", "key"]},
        {"target_modules": "all-linear"},
        {"layers_to_transform": [0]},
        {"r": 8},
        {"lora_alpha": 16.0},
        {"bias": "all"},
        {"fan_in_fan_out": True},
        {"modules_to_save": ["cls"]},
        {"exclude_modules": ["query"]},
        {"peft_type": "IA3"},
        {"invented_in_2030": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_field_that_changes_the_result_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=next(iter(changed))):
        check_config(SPEC, stored(**changed))


@pytest.mark.parametrize("family", FAMILIES)
def test_query_and_value_are_adapted_in_every_layer(backbone_of: BackboneOf, family: str) -> None:
    # hand count: 2 layers x 2 projections x (A and B)
    model = backbone_of(family).model
    slots = AdapterSlots(model)
    slots.add("a", peft_config(adapter_spec(AdapterChoice(rank=4), model)))
    names = slots.read("a")
    slots.close()
    assert len(names) == 2 * 2 * 2


def test_layers_of_the_specification_reach_peft() -> None:
    assert peft_config(SPEC.model_copy(update={"layers": (1,)})).layers_to_transform == [1]


def test_parameters_are_those_of_the_tensors(sentiment: TrainedModule, bert: Backbone) -> None:
    # hand count: 2 layers x 2 projections x rank 8 x (32 in + 32 out)
    assert sentiment.adapter.parameters == 2 * 2 * 8 * (bert.hidden_size * 2)
    assert sum(tensor.numel() for tensor in sentiment.adapter_tensors.values()) == sentiment.adapter.parameters


def test_adapter_of_other_names_is_refused_by_the_slots(sentiment: TrainedModule, bert: Backbone) -> None:
    smaller = replace(sentiment, adapter_tensors=dict(list(sentiment.adapter_tensors.items())[1:]))
    slots = AdapterSlots(bert.model)
    slots.add("a", peft_config(sentiment.adapter))
    try:
        with pytest.raises(Exception, match="do not fit this backbone"):
            slots.write("a", smaller.adapter_tensors)
    finally:
        slots.close()
