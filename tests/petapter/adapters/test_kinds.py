import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    CamembertConfig,
    CamembertForMaskedLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
)

from petapter.adapters import AdapterChoice, AdapterSlots, adapter_spec, check_config, config_values, peft_config
from petapter_schemas.adapter_files import ADAPTER_CONFIG_FILE, ADAPTER_FILE, check_adapter_config
from tests.petapter.adapters.conftest import ModelOf
from tests.petapter.adapters.kinds import CASES, CHOICES, adapted, hidden


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_new_adapter_changes_nothing(model_of: ModelOf, architecture: str, name: str) -> None:
    model = model_of(architecture)
    before = hidden(model)
    with adapted(model, CHOICES[name], seed=None):
        assert torch.equal(hidden(model), before)


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_gradients_reach_the_adapter_alone_and_all_of_it(model_of: ModelOf, architecture: str, name: str) -> None:
    model = model_of(architecture)
    with adapted(model, CHOICES[name]) as tensors:
        model.base_model(input_ids=torch.tensor([[2, 5, 6, 4, 3]])).last_hidden_state.square().sum().backward()
        moving = [parameter for parameter in model.parameters() if parameter.grad is not None]
        assert all(bool(parameter.grad.any()) for parameter in moving if parameter.grad is not None)
        assert sum(parameter.numel() for parameter in moving) == sum(tensor.numel() for tensor in tensors.values())
        assert {id(p) for p in moving} == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_described_parameters_are_those_of_the_tensors(model_of: ModelOf, architecture: str, name: str) -> None:
    model = model_of(architecture)
    with adapted(model, CHOICES[name]) as tensors:
        found = sum(tensor.numel() for tensor in tensors.values())
    assert adapter_spec(CHOICES[name], model).parameters == found


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_model_is_bit_identical_afterwards(model_of: ModelOf, architecture: str, name: str) -> None:
    model = model_of(architecture)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    with adapted(model, CHOICES[name]):
        hidden(model)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [type(module) for module in model.modules()] == kinds


@pytest.mark.parametrize(("architecture", "name"), CASES)
def test_peft_opens_the_files_and_computes_the_same(
    model_of: ModelOf, model_directory: Callable[[str], Path], tmp_path: Path, architecture: str, name: str
) -> None:
    # reference: peft.PeftModel.from_pretrained on a model that petapter never touched
    model = model_of(architecture)
    spec = adapter_spec(CHOICES[name], model)
    with adapted(model, CHOICES[name]) as tensors:
        ours = hidden(model)
    _write(tmp_path, config_values(peft_config(spec)), tensors)
    check_config(spec, json.loads((tmp_path / ADAPTER_CONFIG_FILE).read_text()))
    check_adapter_config(spec, (tmp_path / ADAPTER_CONFIG_FILE).read_bytes())
    fresh = AutoModelForMaskedLM.from_pretrained(model_directory(architecture)).eval()
    bare = hidden(fresh)
    theirs = hidden(PeftModel.from_pretrained(fresh, tmp_path).eval().base_model.model)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert float((ours - bare).abs().max()) > 1e-3


def _write(directory: Path, config: Mapping[str, object], tensors: dict[str, Tensor]) -> None:
    (directory / ADAPTER_CONFIG_FILE).write_text(json.dumps(config))
    safetensors.torch.save_file(tensors, directory / ADAPTER_FILE, metadata={"format": "pt"})


@pytest.mark.parametrize(("architecture", "name"), [case for case in CASES if case[0] != "albert"])
def test_only_the_chosen_layers_are_adapted(model_of: ModelOf, architecture: str, name: str) -> None:
    # the hidden states up to the adapted layer are those of the bare model
    model = model_of(architecture)
    choice = replace(CHOICES[name], layers=(1,))
    bare = _all_hidden(model)
    with adapted(model, choice) as tensors:
        states = _all_hidden(model)
    assert all(".1." in key and ".0." not in key for key in tensors)
    assert torch.equal(states[0], bare[0])
    assert torch.equal(states[1], bare[1])
    assert not torch.allclose(states[2], bare[2])


def _all_hidden(model: PreTrainedModel) -> tuple[Tensor, ...]:
    with torch.no_grad():
        output = model.base_model(input_ids=torch.tensor([[2, 5, 6, 4, 3]]), output_hidden_states=True)
    return tuple(output.hidden_states)


def _layer(model: PreTrainedModel, tensor: str) -> nn.Module:
    return model.get_submodule(tensor.removeprefix("base_model.model.").rpartition(".")[0])


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "distilbert", "albert"])
def test_ia3_scales_keys_values_and_the_middle_of_the_feed_forward_block(model_of: ModelOf, architecture: str) -> None:
    # reference: Liu et al. 2022 (arXiv 2205.05638), section 3.3, folded into the weights: diag(l) W x + l b for keys
    # and values, W2 diag(l) for what the activation gives to the second linear map
    model = model_of(architecture)
    reference = copy.deepcopy(model)
    with adapted(model, CHOICES["ia3"]) as tensors, torch.no_grad():
        ours = hidden(model)
        for name, scale in tensors.items():
            layer = _layer(reference, name)
            layer.weight.mul_(scale)  # [out, 1] or [1, in]
            if scale.shape[0] > 1:
                layer.bias.mul_(scale.flatten())
    torch.testing.assert_close(ours, hidden(reference), atol=1e-5, rtol=0)
    assert sorted({tuple(tensor.shape) for tensor in tensors.values()}) == [(1, 64), (32, 1)]


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "distilbert", "albert"])
def test_ia3_before_the_activation_scales_what_the_activation_gets(model_of: ModelOf, architecture: str) -> None:
    # reference: AdapterHub's IA3Config (attn_matrices k and v, intermediate_lora), whose layers multiply what a linear
    # map gives, bias and all: diag(l) W x + l b at all three, so that the activation reads what is scaled
    model = model_of(architecture)
    reference = copy.deepcopy(model)
    with adapted(model, CHOICES["ia3-before"]) as tensors, torch.no_grad():
        ours = hidden(model)
        for name, scale in tensors.items():
            layer = _layer(reference, name)
            layer.weight.mul_(scale)  # [out, 1]
            layer.bias.mul_(scale.flatten())
    torch.testing.assert_close(ours, hidden(reference), atol=1e-5, rtol=0)
    assert sorted({tuple(tensor.shape) for tensor in tensors.values()}) == [(32, 1), (64, 1)]


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "distilbert", "albert"])
def test_ia3_of_either_place_adapts_other_maps_of_the_feed_forward_block(model_of: ModelOf, architecture: str) -> None:
    model = model_of(architecture)
    after, before = (adapter_spec(CHOICES[name], model) for name in ("ia3", "ia3-before"))
    assert after.targets[:2] == before.targets[:2]  # keys and values
    assert after.feedforward == after.targets[2:] != before.targets[2:]
    assert before.feedforward == ()
    assert after.parameters == before.parameters


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "distilbert", "albert"])
def test_bitfit_is_added_to_the_biases(model_of: ModelOf, architecture: str) -> None:
    # reference: Ben Zaken et al. 2021 (arXiv 2106.10199): the same model with other biases
    model = model_of(architecture)
    reference = copy.deepcopy(model)
    with adapted(model, CHOICES["bitfit"]) as tensors, torch.no_grad():
        ours = hidden(model)
        for name, delta in tensors.items():
            _layer(reference, name).bias.add_(delta.flatten())
    torch.testing.assert_close(ours, hidden(reference), atol=1e-5, rtol=0)


def test_lora_adds_scaled_products_of_its_factors(model_of: ModelOf) -> None:
    # reference: Hu et al. 2021 (arXiv 2106.09685): W + alpha / r B A; alpha / r is 2 here
    model = model_of("roberta")
    reference = copy.deepcopy(model)
    with adapted(model, CHOICES["lora"]) as tensors, torch.no_grad():
        ours = hidden(model)
        for name, up in tensors.items():
            if "lora_B" in name:
                down = tensors[name.replace("lora_B", "lora_A")]
                _layer(reference, name.removesuffix(".weight")).weight.add_(2.0 * up @ down)
    torch.testing.assert_close(ours, hidden(reference), atol=1e-5, rtol=0)


def _bottleneck(tensors: dict[str, Tensor], path: str, values: Tensor) -> Tensor:
    part = {key.split("bottleneck_")[1]: tensor for key, tensor in tensors.items() if f".{path}.bottleneck" in key}
    down = torch.relu(values @ part["down.weight"].T + part["down.bias"])
    return down @ part["up.weight"].T + part["up.bias"]


@pytest.mark.parametrize("architecture", ["bert", "electra", "deberta-v2"])
@pytest.mark.parametrize("name", ["pfeiffer", "houlsby"])
def test_bottleneck_stands_where_its_authors_put_it(model_of: ModelOf, architecture: str, name: str) -> None:
    # reference: the blocks' outputs written out, LN(r + h + A(LN(r + h))) of Pfeiffer et al. 2021 (arXiv 2005.00247,
    # AdapterHub's original_ln_before, residual_before_ln, original_ln_after) and LN(r + h + A(h)) of Houlsby et al.
    # 2019 (arXiv 1902.00751)
    model = model_of(architecture)
    reference = copy.deepcopy(model)
    with adapted(model, CHOICES[name]) as tensors:
        ours = hidden(model)

    def written_out(block: nn.Module, path: str) -> None:
        def forward(values: Tensor, residual: Tensor) -> Tensor:
            block_output = block.dense(values)
            if name == "houlsby":
                adapter = _bottleneck(tensors, f"{path}.dropout", block_output)
            else:
                adapter = _bottleneck(tensors, f"{path}.LayerNorm", block.LayerNorm(residual + block_output))
            summed: Tensor = block.LayerNorm(residual + block_output + adapter)
            return summed

        block.forward = forward

    for number, layer in enumerate(reference.base_model.encoder.layer):
        written_out(layer.output, f"{number}.output")
        if name == "houlsby":
            written_out(layer.attention.output, f"{number}.attention.output")
    torch.testing.assert_close(ours, hidden(reference), atol=1e-5, rtol=0)


def _roberta_large() -> RobertaForMaskedLM:
    with torch.device("meta"):
        return RobertaForMaskedLM(
            RobertaConfig(
                vocab_size=50265,
                hidden_size=1024,
                num_hidden_layers=24,
                num_attention_heads=16,
                intermediate_size=4096,
                max_position_embeddings=514,
                type_vocab_size=1,
            )
        )


@pytest.mark.parametrize(
    ("choice", "parameters"),
    [
        (AdapterChoice(rank=8), 786_432),  # 24 layers x q, v x 8 x (1024 + 1024)
        (AdapterChoice(kind="ia3"), 147_456),  # 24 x (1024 + 1024 + 4096)
        (AdapterChoice(kind="ia3", ia3_place="before-activation"), 147_456),
        (AdapterChoice(kind="bottleneck"), 3_171_840),  # 24 x (2 x 1024 x 64 + 64 + 1024)
        (AdapterChoice(kind="bottleneck", placement="houlsby"), 6_343_680),  # twice that
        (AdapterChoice(kind="bitfit"), 122_880),  # 24 x (1024 + 4096)
        (AdapterChoice(rank=4, layers=tuple(range(12, 24))), 196_608),  # 12 x q, v x 4 x 2048
        (AdapterChoice(kind="bitfit", layers=tuple(range(12, 24))), 61_440),
    ],
    ids=lambda value: value.kind if isinstance(value, AdapterChoice) else str(value),
)
def test_parameters_of_a_large_model_are_those_counted_by_hand(choice: AdapterChoice, parameters: int) -> None:
    # with the paper's random head of 1,055,748 numbers in float32, the first three are the module sizes that follow
    # from PETapter's shapes: 7.37 MB, 4.81 MB and 16.9 MB
    model = _roberta_large()
    assert adapter_spec(choice, model).parameters == parameters
    slots = AdapterSlots(model)
    slots.add("it", peft_config(adapter_spec(choice, model)))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters
    slots.close()


def test_camembert_is_adapted_like_roberta() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = CamembertForMaskedLM(CamembertConfig(vocab_size=40, max_position_embeddings=32, pad_token_id=1, **sizes))
    counts = {name: adapter_spec(choice, model).parameters for name, choice in CHOICES.items()}
    # by hand: 2 x 2 x 3 x 64; 2 x (32 + 32 + 64); 2 x (2 x 32 x 6 + 6 + 32); 4 x (2 x 32 x 8 + 8 + 32); 2 x (32 + 64)
    assert counts == {"lora": 768, "ia3": 256, "ia3-before": 256, "pfeiffer": 844, "houlsby": 2208, "bitfit": 192}
