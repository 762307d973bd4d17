"""Whether adapter_model.safetensors and adapter_config.json are the adapter that the manifest describes."""

import re
from collections.abc import Mapping

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError, TensorFileError
from petapter_schemas.manifest import AdapterSpec
from petapter_schemas.tensor_header import TensorHeader

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"

_PEFT_TYPES = {"lora": "LORA", "ia3": "IA3"}

_LORA_NAME = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<factor>[AB])\.weight")
_LAYER_NUMBER = re.compile(r"(?:^|\.)layers?\.(\d+)(?=\.)")

_CODE_FIELDS = ("auto_mapping", "modules_to_save", "megatron_config")
"""With these, peft imports classes by name or swaps whole layers."""

_LORA_VARIANTS = (
    "alora_invocation_tokens", "alpha_pattern", "layer_replication", "lora_bias", "rank_pattern", "target_parameters",
    "trainable_token_indices", "use_dora", "use_qalora", "use_rslora",
)  # fmt: skip
"""Fields of peft's LoraConfig that change what the tensors mean and have no place in the manifest."""


def check_adapter_tensors(adapter: AdapterSpec, header: TensorHeader) -> None:
    """Check names and shapes of a LoRA adapter; the other kinds are checked by the backbone they are put into.

    Raises:
        TensorFileError: A tensor is no factor of a named target in a named layer with the rank of the manifest, or
            stands alone.
    """
    if adapter.kind != "lora":
        return
    factors: dict[str, set[str]] = {}
    for name, info in header.tensors.items():
        match = _LORA_NAME.fullmatch(name)
        if match is None or not _is_named(match["layer"], adapter):
            raise TensorFileError(f"{ADAPTER_FILE}: {name} is no LoRA tensor of a target and layer in the manifest")
        rank_axis = 0 if match["factor"] == "A" else 1  # A is [r, in], B is [out, r]
        if len(info.shape) != 2 or info.shape[rank_axis] != adapter.rank:  # noqa: PLR2004 (a matrix)
            raise TensorFileError(f"{ADAPTER_FILE}: {name} is {list(info.shape)}; the manifest has rank {adapter.rank}")
        factors.setdefault(match["layer"], set()).add(match["factor"])
    if alone := sorted(layer for layer, found in factors.items() if found != {"A", "B"}):
        raise TensorFileError(f"{ADAPTER_FILE}: {alone[0]} has only one of its two LoRA factors")


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
    expected = _PEFT_TYPES.get(adapter.kind, config.get("peft_type"))
    if not isinstance(expected, str) or config.get("peft_type") != expected:
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has peft_type {config.get('peft_type')!r}; the manifest {expected}")
    if adapter.kind == "lora":
        _check_lora_config(adapter, config)


def _check_lora_config(adapter: AdapterSpec, config: Mapping[str, object]) -> None:
    for field, expected in (("r", adapter.rank), ("lora_alpha", adapter.alpha)):
        if config.get(field) != expected:
            raise ManifestError(f"{ADAPTER_CONFIG_FILE} has {field} {config.get(field)!r}; the manifest {expected!r}")
    for field in _LORA_VARIANTS:
        if config.get(field):
            raise ManifestError(f"{ADAPTER_CONFIG_FILE} sets {field}, for which the manifest has no word: drop it")
    if config.get("bias", "none") != "none":
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} trains biases; the manifest's adapter has none")
    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    if not isinstance(targets, list) or sorted(map(str, targets)) != sorted(adapter.targets):
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has other target_modules than the manifest's adapter.targets")
    if (layers or None) != (list(adapter.layers) if adapter.layers else None):
        raise ManifestError(f"{ADAPTER_CONFIG_FILE} has other layers_to_transform than the manifest's adapter.layers")


def _is_named(layer: str, adapter: AdapterSpec) -> bool:
    """Whether a module path such as bert.encoder.layer.0.attention.self.query is one the manifest names."""
    targeted = any(layer == target or layer.endswith(f".{target}") for target in adapter.targets)
    if adapter.layers is None:
        return targeted
    number = _LAYER_NUMBER.search(layer)
    return targeted and number is not None and int(number[1]) in adapter.layers
