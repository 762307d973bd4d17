"""Adapter kinds as peft configurations, and their place inside a backbone's model."""

from petapter.adapters.architectures import Ia3Place
from petapter.adapters.choice import (
    AdapterChoice,
    adapted_modules,
    adapter_spec,
    check_places,
    layer_number,
    lora_adapts_keys,
    scales_input,
    tensor_shapes,
    top_layers,
)
from petapter.adapters.claim import Claim
from petapter.adapters.configuration import check_config, config_values, peft_config
from petapter.adapters.slots import AdapterSlots

__all__ = [
    "AdapterChoice",
    "AdapterSlots",
    "Claim",
    "Ia3Place",
    "adapted_modules",
    "adapter_spec",
    "check_config",
    "check_places",
    "config_values",
    "layer_number",
    "lora_adapts_keys",
    "peft_config",
    "scales_input",
    "tensor_shapes",
    "top_layers",
]
