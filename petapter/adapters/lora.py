"""LoRA (Hu et al. 2021, arXiv 2106.09685) as peft implements it: which layers, and the configuration file beside it."""

from collections.abc import Mapping
from typing import cast

from peft import LoraConfig, PeftType

from petapter_schemas.errors import BackboneError, ManifestError
from petapter_schemas.manifest import AdapterSpec

_TARGETS = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "xlm-roberta": ("query", "value"),
    "camembert": ("query", "value"),
    "distilbert": ("q_lin", "v_lin"),
}
"""Query and value projections of self-attention, as in PETapter, by transformers' `model_type`."""

_COSMETIC = frozenset(
    {"base_model_name_or_path", "inference_mode", "init_lora_weights", "lora_dropout", "peft_version", "revision",
     "task_type", "ensure_weight_tying", "qalora_group_size", "megatron_core"}
)  # fmt: skip
"""Fields of adapter_config.json that do not change what the adapter computes at inference."""


def lora_targets(model_type: str) -> tuple[str, ...]:
    """Names of the adapted layers.

    Raises:
        BackboneError: The architecture is not known here.
    """
    if model_type not in _TARGETS:
        raise BackboneError(f"LoRA on a {model_type} model is not supported: take one of {', '.join(sorted(_TARGETS))}")
    return _TARGETS[model_type]


def lora_config(spec: AdapterSpec, *, dropout: float = 0.0, repo: str | None = None) -> LoraConfig:
    """The peft configuration of a LoRA adapter."""
    return LoraConfig(
        r=spec.rank or 0,
        lora_alpha=cast("int", spec.alpha),  # peft divides by the rank; a fraction is fine
        target_modules=list(spec.targets),
        layers_to_transform=list(spec.layers) if spec.layers is not None else None,
        lora_dropout=dropout,
        bias="none",
        base_model_name_or_path=repo,
        inference_mode=False,
    )


def config_values(config: LoraConfig) -> dict[str, object]:
    """The configuration as JSON values, in a fixed order: what adapter_config.json holds."""
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    values["peft_type"] = PeftType(config.peft_type).value
    values["inference_mode"] = True
    return dict(sorted(values.items()))


def check_config(spec: AdapterSpec, stored: Mapping[str, object]) -> None:
    """Refuse an adapter_config.json under which peft would compute something else than the manifest says.

    Raises:
        ManifestError: A field that changes the result differs.
    """
    expected = config_values(lora_config(spec))
    for key, value in stored.items():
        if key in _COSMETIC:
            continue
        if key == "target_modules" and isinstance(value, list):
            value = sorted(map(str, value))  # noqa: PLW2901 (a set for peft, which writes it in any order)
        if key in expected and value != expected[key] and not (not value and not expected[key]):
            raise ManifestError(f"adapter_config.json sets {key} = {value!r}; the manifest means {expected[key]!r}")
        if key not in expected and value:
            raise ManifestError(f"adapter_config.json sets {key}, which this peft does not know: upgrade peft")
