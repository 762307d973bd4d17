"""Adapters as peft configurations, and whether an adapter_config.json means what the manifest says.

LoRA (Hu et al. 2021, arXiv 2106.09685) adds alpha / rank B A to a weight, A [r, in] and B [out, r].
(IA)^3 (Liu et al. 2022, arXiv 2205.05638) multiplies keys, values and the activations inside the feed-forward block by
trained vectors: the last by scaling the input of the block's second linear map, which peft calls a feed-forward
module. AdapterHub's (IA)^3 scales the output of the block's first linear map, so what the activation gets; that map is
then none of peft's feed-forward modules. BitFit (Ben Zaken et al. 2021, arXiv 2106.10199; a choice of biases: Logan IV
et al. 2021, arXiv 2106.13353) trains biases; here what is added to them, which is peft's BEFT.
"""

from collections.abc import Callable, Mapping
from typing import cast

from peft import BeftConfig, IA3Config, LoraConfig, PeftConfig

from petapter.adapters.bottleneck import BottleneckConfig
from petapter_schemas.adapter_files import module_pattern
from petapter_schemas.adapter_spec import AdapterKind, AdapterSpec
from petapter_schemas.errors import InputError, ManifestError

_COSMETIC = frozenset(
    {"base_model_name_or_path", "inference_mode", "init_ia3_weights", "init_lora_weights", "init_weights",
     "lora_dropout", "peft_version", "revision", "task_type", "up_std", "ensure_weight_tying", "qalora_group_size",
     "megatron_core"}
)  # fmt: skip
"""Fields of adapter_config.json that do not change what the adapter computes at inference."""


def peft_config(spec: AdapterSpec, *, dropout: float = 0.0, up_std: float = 0.0, repo: str | None = None) -> PeftConfig:
    """The peft configuration of an adapter of any kind but `none`.

    Args:
        spec: The adapter.
        dropout: Of LoRA, while it trains.
        up_std: How a bottleneck starts, see `AdapterChoice`.
        repo: Name of the backbone, to record.

    Raises:
        InputError: The kind is `none`.
    """
    if spec.kind not in _CONFIGS:
        raise InputError(f"an adapter of kind {spec.kind!r} has no peft configuration")
    config = _CONFIGS[spec.kind](spec)
    config.base_model_name_or_path = repo
    if isinstance(config, LoraConfig):
        config.lora_dropout = dropout
    if isinstance(config, BottleneckConfig):
        config.up_std = up_std
    return config


def config_values(config: PeftConfig) -> dict[str, object]:
    """The configuration as JSON values, in a fixed order: what adapter_config.json holds."""
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    values["peft_type"] = str(getattr(config.peft_type, "value", config.peft_type))
    values["inference_mode"] = True
    return dict(sorted(values.items()))


def check_config(spec: AdapterSpec, stored: Mapping[str, object]) -> None:
    """Refuse an adapter_config.json under which peft would compute something else than the manifest says.

    Raises:
        ManifestError: A field that changes the result differs.
    """
    expected = config_values(peft_config(spec))
    for key, value in stored.items():
        if key in _COSMETIC:
            continue
        if key == "target_modules" and isinstance(value, list):
            value = sorted(map(str, value))  # noqa: PLW2901 (a set for peft, which writes it in any order)
        if key in expected and value != expected[key] and not (not value and not expected[key]):
            raise ManifestError(f"adapter_config.json sets {key} = {value!r}; the manifest means {expected[key]!r}")
        if key not in expected and value:
            raise ManifestError(f"adapter_config.json sets {key}, which this peft does not know: upgrade peft")


def _lora_config(spec: AdapterSpec) -> PeftConfig:
    return LoraConfig(
        r=spec.rank or 0,
        lora_alpha=cast("int", spec.alpha),  # peft divides by the rank; a fraction is fine
        target_modules=list(spec.targets),
        layers_to_transform=list(spec.layers) if spec.layers is not None else None,
    )


def _ia3_config(spec: AdapterSpec) -> PeftConfig:
    inputs = spec.feedforward
    return IA3Config(
        target_modules=module_pattern(spec.targets, spec.layers),
        feedforward_modules=module_pattern(inputs, spec.layers) if inputs else [],  # None would be peft's own choice
    )


def _bitfit_config(spec: AdapterSpec) -> PeftConfig:
    return BeftConfig(target_modules=module_pattern(spec.targets, spec.layers))


def _bottleneck_config(spec: AdapterSpec) -> PeftConfig:
    return BottleneckConfig(target_modules=module_pattern(spec.targets, spec.layers), reduction=spec.reduction or 1)


_CONFIGS: dict[AdapterKind, Callable[[AdapterSpec], PeftConfig]] = {
    "lora": _lora_config,
    "ia3": _ia3_config,
    "bitfit": _bitfit_config,
    "bottleneck": _bottleneck_config,
}
