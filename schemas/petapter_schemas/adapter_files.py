"""Whether adapter_model.safetensors and adapter_config.json are the adapter that the manifest describes."""

import re
from collections.abc import Callable, Mapping

from petapter_schemas import strict_json
from petapter_schemas.adapter_spec import AdapterKind, AdapterSpec
from petapter_schemas.errors import ManifestError, TensorFileError
from petapter_schemas.manifest import BackboneSpec
from petapter_schemas.tensor_header import TensorHeader

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
PEFT_PREFIX = "base_model.model."
"""What peft puts before the name of a place in the model when it names a tensor."""

PEFT_TYPES: dict[AdapterKind, str] = {
    "lora": "LORA",
    "ia3": "IA3",
    "bottleneck": "PETAPTER_BOTTLENECK",
    "bitfit": "BEFT",
}
"""What peft calls the kinds; BEFT adds trained vectors to the biases of linear layers."""

_TENSOR_NAME = re.compile(r"base_model\.model\.(?P<layer>.+?)\.(?P<tensor>(?:lora|bottleneck|ia3|beft)_[A-Za-z_.]+)")
_LAYER_NUMBER = re.compile(r"(?:^|\.)layers?\.(\d+)(?=\.)")

_CODE_FIELDS = ("auto_mapping", "modules_to_save", "megatron_config")
"""With these, peft imports classes by name or swaps whole layers."""

_LORA_VARIANTS = (
    "alora_invocation_tokens", "alpha_pattern", "exclude_modules", "fan_in_fan_out", "layer_replication",
    "layers_pattern", "lora_bias", "rank_pattern", "target_parameters", "trainable_token_indices", "use_dora",
    "use_qalora", "use_rslora",
)  # fmt: skip
"""Fields of peft's LoraConfig that change what the tensors mean and have no place in the manifest."""

_PATTERN_VARIANTS = ("exclude_modules", "fan_in_fan_out", "layers_pattern", "layers_to_transform", "target_parameters")
"""Likewise for the kinds whose modules a pattern names."""

Shape = tuple[int | None, ...]
"""Of a tensor; None where the manifest does not say how long a dimension is."""


def module_pattern(targets: tuple[str, ...], layers: tuple[int, ...] | None) -> str:
    """The regular expression that matches the whole names of the adapted modules, for peft's `target_modules`.

    A module is one of `targets` directly inside a numbered layer, so that of BERT's `output.dense` and
    `attention.output.dense` each can be meant without the other.
    """
    numbers = r"\d+" if layers is None else rf"layers?\.(?:{'|'.join(map(str, layers))})"
    names = "|".join(target.replace(".", r"\.") for target in targets)
    return rf"(?:.*\.)?{numbers}\.(?:{names})"


def check_adapter_tensors(adapter: AdapterSpec, backbone: BackboneSpec, header: TensorHeader) -> None:
    """Check names and shapes of the tensors, and that no adapted module lacks one.

    Whether the targets are all there are in the backbone is checked when the adapter is put into it.

    Raises:
        TensorFileError: A tensor is none of the kind on a target in a layer of the manifest, has another shape than
            the manifest means, or its module or layer lacks others.
    """
    found: dict[str, set[str]] = {}
    for name, info in header.tensors.items():
        match = _TENSOR_NAME.fullmatch(name)
        if match is None or not _is_named(match["layer"], adapter):
            raise TensorFileError(
                f"{ADAPTER_FILE}: {name} is no {adapter.kind} tensor of a target and layer in the manifest"
            )
        expected = _SHAPES[adapter.kind](adapter, backbone, match["layer"]).get(match["tensor"])
        if expected is None or not _fits(info.shape, expected):
            raise TensorFileError(f"{ADAPTER_FILE}: {name} {list(info.shape)} is not what the manifest describes")
        found.setdefault(match["layer"], set()).add(match["tensor"])
    for layer, tensors in sorted(found.items()):
        if lost := set(_SHAPES[adapter.kind](adapter, backbone, layer)) - tensors:
            raise TensorFileError(f"{ADAPTER_FILE}: {layer} lacks its {min(lost)}")
    if adapter.kind == "lora":
        _check_lora_layers(adapter, backbone, found)
    else:
        _check_layers(adapter, backbone, found)


def check_adapter_config(adapter: AdapterSpec, data: bytes) -> None:
    """Check the bytes of adapter_config.json.

    Raises:
        ManifestError: It breaks the format, names code, or describes another adapter.
    """
    config = strict_json.loads(data, source=ADAPTER_CONFIG_FILE)
    if not isinstance(config, dict):
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} must be a JSON object")
    for field in _CODE_FIELDS:
        if config.get(field) not in (None, []):
            raise ManifestError(f"{ADAPTER_CONFIG_FILE} must not set {field}: it names code")
    expected = PEFT_TYPES[adapter.kind]
    if config.get("peft_type") != expected:
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has peft_type {config.get('peft_type')!r}; the manifest {expected}")
    if adapter.kind == "lora":
        _check_lora_config(adapter, config)
    else:
        _check_pattern_config(adapter, config)


def _check_lora_config(adapter: AdapterSpec, config: Mapping[str, object]) -> None:
    _check_equal(config, {"r": adapter.rank, "lora_alpha": adapter.alpha})
    _check_unset(config, _LORA_VARIANTS)
    if config.get("bias", "none") != "none":
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} trains biases; the manifest's adapter has none")
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    if not isinstance(targets, list) or sorted(map(str, targets)) != sorted(adapter.targets):
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has other target_modules than the manifest's adapter.targets")
    if (layers or None) != (list(adapter.layers) if adapter.layers else None):
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has other layers_to_transform than the manifest's adapter.layers")


def _check_pattern_config(adapter: AdapterSpec, config: Mapping[str, object]) -> None:
    expected: dict[str, object] = {"target_modules": module_pattern(adapter.targets, adapter.layers)}
    if adapter.kind == "ia3":
        inputs = adapter.feedforward
        expected["feedforward_modules"] = module_pattern(inputs, adapter.layers) if inputs else []
    if adapter.kind == "bottleneck":
        expected["reduction"] = adapter.reduction
    _check_equal(config, expected)
    _check_unset(config, _PATTERN_VARIANTS)


def _check_equal(config: Mapping[str, object], expected: Mapping[str, object]) -> None:
    for field, value in expected.items():
        if config.get(field) != value:
            raise ManifestError(f"{ADAPTER_CONFIG_FILE} has {field} {config.get(field)!r}; the manifest {value!r}")


def _check_unset(config: Mapping[str, object], fields: tuple[str, ...]) -> None:
    for field in fields:
        if config.get(field):
            raise ManifestError(f"{ADAPTER_CONFIG_FILE} sets {field}, for which the manifest has no word: drop it")


def _check_lora_layers(adapter: AdapterSpec, backbone: BackboneSpec, found: Mapping[str, object]) -> None:
    """No layer may be adapted that the backbone lacks, and none be named that is not adapted."""
    numbers = {int(match[1]) for module in found if (match := _LAYER_NUMBER.search(module))}
    if max(numbers, default=0) >= backbone.layers:
        raise TensorFileError(f"{ADAPTER_FILE} adapts layer {max(numbers)}; the backbone has {backbone.layers} layers")
    if missing := set(adapter.layers or ()) - numbers:
        raise TensorFileError(f"{ADAPTER_FILE} holds nothing in layer {min(missing)}, which the manifest names")


def _check_layers(adapter: AdapterSpec, backbone: BackboneSpec, found: Mapping[str, object]) -> None:
    """Every target must be there in every layer; a backbone that shares its layers numbers none."""
    numbers = {int(match[1]) for module in found if (match := _LAYER_NUMBER.search(module))}
    if adapter.layers is None:
        complete = len(numbers) == backbone.layers == max(numbers, default=0) + 1
    else:
        complete = numbers == set(adapter.layers)
    if numbers and not (complete and len(found) == len(numbers) * len(adapter.targets)):
        raise TensorFileError(f"{ADAPTER_FILE} does not hold every target in every layer of the manifest")


def _is_named(layer: str, adapter: AdapterSpec) -> bool:
    """Whether a module path such as bert.encoder.layer.0.attention.self.query is one the manifest names."""
    if adapter.kind != "lora":
        return re.fullmatch(module_pattern(adapter.targets, adapter.layers), layer) is not None
    targeted = any(layer == target or layer.endswith(f".{target}") for target in adapter.targets)
    if adapter.layers is None:
        return targeted
    number = _LAYER_NUMBER.search(layer)
    return targeted and number is not None and int(number[1]) in adapter.layers


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(want in (None, size) for size, want in zip(shape, expected, strict=True))


def _lora_shapes(adapter: AdapterSpec, _backbone: BackboneSpec, _layer: str) -> dict[str, Shape]:
    return {"lora_A.weight": (adapter.rank, None), "lora_B.weight": (None, adapter.rank)}  # [r, in], [out, r]


def _ia3_shapes(adapter: AdapterSpec, _backbone: BackboneSpec, layer: str) -> dict[str, Shape]:
    inputs = adapter.feedforward
    scales_input = bool(inputs) and re.fullmatch(module_pattern(inputs, adapter.layers), layer) is not None
    return {"ia3_l": (1, None) if scales_input else (None, 1)}


def _bottleneck_shapes(adapter: AdapterSpec, backbone: BackboneSpec, _layer: str) -> dict[str, Shape]:
    hidden = backbone.hidden_size
    neurons = hidden // (adapter.reduction or 1)
    return {
        "bottleneck_down.weight": (neurons, hidden),
        "bottleneck_down.bias": (neurons,),
        "bottleneck_up.weight": (hidden, neurons),
        "bottleneck_up.bias": (hidden,),
    }


def _bitfit_shapes(_adapter: AdapterSpec, _backbone: BackboneSpec, _layer: str) -> dict[str, Shape]:
    return {"beft_bias": (1, None)}


_SHAPES: dict[AdapterKind, Callable[[AdapterSpec, BackboneSpec, str], dict[str, Shape]]] = {
    "lora": _lora_shapes,
    "ia3": _ia3_shapes,
    "bottleneck": _bottleneck_shapes,
    "bitfit": _bitfit_shapes,
}
"""The tensors of one adapted module."""
