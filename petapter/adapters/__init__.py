"""Adapter kinds as peft configurations, and their place inside a backbone's model."""

from petapter.adapters.lora import check_config, config_values, lora_config
from petapter.adapters.slots import AdapterSlots

__all__ = ["AdapterSlots", "check_config", "config_values", "lora_config"]
