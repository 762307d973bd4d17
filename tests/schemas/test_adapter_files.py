import json
import re
from pathlib import Path

import pytest

from petapter_schemas.adapter_files import check_adapter_config, check_adapter_tensors, module_pattern
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import ManifestError, TensorFileError
from petapter_schemas.manifest import BackboneSpec
from petapter_schemas.tensor_header import TensorHeader, read_tensor_header
from tests.schemas.tiny_module import HIDDEN, tensor_file, tiny_manifest

_BACKBONE = tiny_manifest().backbone.model_copy(update={"layers": 2})
_LAYER = "base_model.model.bert.encoder.layer.{}.{}"
_KEY, _DOWN, _NORM = "attention.self.key", "output.dense", "output.LayerNorm"

IA3 = AdapterSpec(kind="ia3", targets=(_KEY, _DOWN), feedforward=(_DOWN,), parameters=48)
BITFIT = AdapterSpec(kind="bitfit", targets=("attention.self.query",), layers=(1,), parameters=8)
BOTTLENECK = AdapterSpec(kind="bottleneck", reduction=3, placement="pfeiffer", targets=(_NORM,), parameters=84)
SPECS = {"ia3": IA3, "bitfit": BITFIT, "bottleneck": BOTTLENECK}

Shapes = dict[str, tuple[int, ...]]

TENSORS: dict[str, Shapes] = {
    "ia3": {
        f"{_LAYER.format(layer, target)}.ia3_l": shape
        for layer in (0, 1)
        for target, shape in ((_KEY, (HIDDEN, 1)), (_DOWN, (1, 2 * HIDDEN)))
    },
    "bitfit": {f"{_LAYER.format(1, 'attention.self.query')}.beft_bias": (1, HIDDEN)},
    "bottleneck": {
        f"{_LAYER.format(layer, _NORM)}.bottleneck_{name}": shape
        for layer in (0, 1)
        for name, shape in (
            ("down.weight", (HIDDEN // 3, HIDDEN)),
            ("down.bias", (HIDDEN // 3,)),
            ("up.weight", (HIDDEN, HIDDEN // 3)),
            ("up.bias", (HIDDEN,)),
        )
    },
}
CONFIGS: dict[str, dict[str, object]] = {
    "ia3": {
        "peft_type": "IA3",
        "target_modules": r"(?:.*\.)?\d+\.(?:attention\.self\.key|output\.dense)",
        "feedforward_modules": r"(?:.*\.)?\d+\.(?:output\.dense)",
    },
    "bitfit": {"peft_type": "BEFT", "target_modules": r"(?:.*\.)?layers?\.(?:1)\.(?:attention\.self\.query)"},
    "bottleneck": {
        "peft_type": "PETAPTER_BOTTLENECK",
        "target_modules": r"(?:.*\.)?\d+\.(?:output\.LayerNorm)",
        "reduction": 3,
    },
}


def header(shapes: Shapes, folder: Path) -> TensorHeader:
    (folder / "a.safetensors").write_bytes(tensor_file(shapes))
    return read_tensor_header(folder / "a.safetensors")


def check(kind: str, shapes: Shapes, folder: Path, backbone: BackboneSpec = _BACKBONE) -> None:
    check_adapter_tensors(SPECS[kind], backbone, header(shapes, folder))


@pytest.mark.parametrize("kind", SPECS)
def test_adapter_of_each_kind_passes(kind: str, tmp_path: Path) -> None:
    check(kind, TENSORS[kind], tmp_path)
    check_adapter_config(SPECS[kind], json.dumps(CONFIGS[kind]).encode())


@pytest.mark.parametrize("kind", SPECS)
def test_adapter_without_one_of_its_tensors_is_refused(kind: str, tmp_path: Path) -> None:
    for name in TENSORS[kind]:
        fewer = {key: shape for key, shape in TENSORS[kind].items() if key != name}
        with pytest.raises(TensorFileError):
            check(kind, fewer or {"other": (1,)}, tmp_path)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    "change",
    [
        lambda name, shape: (name.replace("base_model.model.", ""), shape),
        lambda name, shape: (name.replace("bert.", "bert.extra."), (*shape, 1)),
        lambda name, shape: (re.sub(r"layer\.\d", "layer.7", name), shape),
        lambda name, shape: (re.sub(r"layer\.\d", "embeddings", name), shape),
        lambda name, shape: (name.replace(".output.", ".attention.output.").replace(".self.", ".other."), shape),
        lambda name, shape: (f"{name}.default", shape),
        lambda name, shape: (re.sub(r"(ia3|beft|bottleneck)_", "lora_", name), shape),
        lambda name, shape: (name, (*shape, 1)),
        lambda name, shape: (name, (3,) * len(shape)),
    ],
    ids=["prefix", "rank", "layer", "no layer", "target", "name", "kind", "dimension", "size"],
)
def test_tensor_that_the_manifest_does_not_mean_is_refused(kind: str, change: object, tmp_path: Path) -> None:
    name = next(iter(TENSORS[kind]))
    changed = dict([change(name, TENSORS[kind][name])])  # type: ignore[operator]
    with pytest.raises(TensorFileError) as refusal:
        check(kind, {**{key: shape for key, shape in TENSORS[kind].items() if key != name}, **changed}, tmp_path)
    assert "\n" not in str(refusal.value)


def test_bottleneck_is_as_wide_as_the_reduction_says(tmp_path: Path) -> None:
    for other in (BOTTLENECK.model_copy(update={"reduction": reduction}) for reduction in (1, 2, 8)):
        with pytest.raises(TensorFileError, match="not what the manifest describes"):
            check_adapter_tensors(other, _BACKBONE, header(TENSORS["bottleneck"], tmp_path))


def test_adapter_of_other_layers_than_the_backbone_has_is_refused(tmp_path: Path) -> None:
    for layers in (1, 3, 1 << 40):
        with pytest.raises(TensorFileError, match="every target in every layer"):
            check("ia3", TENSORS["ia3"], tmp_path, _BACKBONE.model_copy(update={"layers": layers}))


def test_layers_that_share_their_weights_have_no_number(tmp_path: Path) -> None:
    place = "base_model.model.albert.encoder.albert_layer_groups.0.albert_layers.0.ffn"
    albert = AdapterSpec(kind="bitfit", targets=("ffn",), parameters=16)
    check_adapter_tensors(albert, _BACKBONE, header({f"{place}.beft_bias": (1, 16)}, tmp_path))


def test_scaled_input_and_scaled_output_are_not_mixed_up(tmp_path: Path) -> None:
    shapes = {name: tuple(reversed(shape)) for name, shape in TENSORS["ia3"].items()}
    with pytest.raises(TensorFileError, match="not what the manifest describes"):
        check("ia3", shapes, tmp_path)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("ia3", {"peft_type": "LORA"}),
        ("ia3", {"target_modules": ".*"}),
        ("ia3", {"target_modules": None}),
        ("ia3", {"target_modules": [_KEY, _DOWN]}),
        ("ia3", {"feedforward_modules": None}),
        ("ia3", {"feedforward_modules": []}),
        ("ia3", {"fan_in_fan_out": True}),
        ("ia3", {"exclude_modules": "bert.*"}),
        ("ia3", {"modules_to_save": ["cls"]}),
        ("bitfit", {"peft_type": "BITFIT"}),
        ("bitfit", {"target_modules": r"(?:.*\.)?\d+\.(?:attention\.self\.query)"}),
        ("bitfit", {"layers_to_transform": [0]}),
        ("bottleneck", {"peft_type": "BOTTLENECK"}),
        ("bottleneck", {"reduction": 4}),
        ("bottleneck", {"reduction": None}),
        ("bottleneck", {"target_modules": r"(?:.*\.)?\d+\.(?:output\.dense)"}),
        ("bottleneck", {"auto_mapping": {"base_model_class": "X", "parent_library": "evil"}}),
    ],
    ids=str,
)
def test_configuration_that_means_another_adapter_is_refused(kind: str, changed: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=next(iter(changed))) as refusal:
        check_adapter_config(SPECS[kind], json.dumps(CONFIGS[kind] | changed).encode())
    assert "\n" not in str(refusal.value)


def test_no_scaled_input_is_an_empty_list_and_not_pefts_own_choice() -> None:
    keys = AdapterSpec(kind="ia3", targets=(_KEY,), parameters=8)
    config = {"peft_type": "IA3", "target_modules": module_pattern((_KEY,), None), "feedforward_modules": []}
    check_adapter_config(keys, json.dumps(config).encode())
    for given in (None, "", ".*"):
        with pytest.raises(ManifestError, match="feedforward_modules"):
            check_adapter_config(keys, json.dumps(config | {"feedforward_modules": given}).encode())


@pytest.mark.parametrize(
    ("path", "layers", "named"),
    [
        ("bert.encoder.layer.0.output.dense", None, True),
        ("bert.encoder.layer.11.output.dense", None, True),
        ("layers.3.output.dense", (3,), True),
        ("bert.encoder.layer.0.attention.output.dense", None, False),
        ("bert.encoder.layer.0.outputXdense", None, False),
        ("bert.encoder.layer.0.output.dense.base_layer", None, False),
        ("bert.encoder.layer.1.output.dense", (0, 11), False),
        ("bert.encoder.layer.11.output.dense", (1,), False),
        ("cls.predictions.output.dense", None, False),
    ],
)
def test_pattern_names_a_module_directly_inside_a_layer(path: str, layers: tuple[int, ...] | None, named: bool) -> None:
    assert (re.fullmatch(module_pattern(("output.dense",), layers), path) is not None) is named


LORA: Shapes = {
    f"{_LAYER.format(layer, 'attention.self.query')}.lora_{name}.weight": shape
    for layer in (0, 1)
    for name, shape in (("A", (2, HIDDEN)), ("B", (HIDDEN, 2)))
}


@pytest.mark.parametrize(
    ("layers", "backbone_layers", "message"),
    [(None, 1, "adapts layer 1; the backbone has 1 layers"), ((0, 1, 2), 3, "holds nothing in layer 2")],
)
def test_lora_of_layers_that_are_not_there_is_refused(
    tmp_path: Path, layers: tuple[int, ...] | None, backbone_layers: int, message: str
) -> None:
    adapter = AdapterSpec(kind="lora", rank=2, alpha=4, targets=("query",), layers=layers, parameters=64)
    backbone = _BACKBONE.model_copy(update={"layers": backbone_layers})
    with pytest.raises(TensorFileError, match=message):
        check_adapter_tensors(adapter, backbone, header(LORA, tmp_path))
