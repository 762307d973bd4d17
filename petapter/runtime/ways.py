"""How a pass runs on a device: which kernels of torch it may use there, by device, precision and model."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from petapter.process import LARGEST_KEPT

_LEAST_FLASH = (8, 0)
_GROUPED = (9, 10)
"""Major compute capabilities whose `grouped_mm` in bfloat16 is one kernel; on others, and in other precisions, torch
multiplies group by group and waits for the device to learn where groups end (aten/src/ATen/native/cuda/GroupedBlas.cpp
of torch 2.10 to 2.13)."""
_WIDEST_HEAD = 256
_HEAD_LINE = 8
"""Flash attention reads heads of whole lines of so many numbers, up to the widest."""

Varlen = Callable[..., Any]
"""`torch.nn.attention.varlen.varlen_attn`."""


@dataclass(frozen=True)
class Ways:
    """How a pass runs.

    Attributes:
        tokens: Of a pass, at most.
        ahead: Texts that the host encodes while the device runs as many before them; None where it is one processor
            that does both.
        sends: Whether arrays have to be sent to the device.
        grouped: Whether `grouped_mm` takes the groups of adapters as they are; else they are cut into blocks.
        grouped_heads: Likewise those of heads, which have single precision.
        varlen: Attention over texts of any length in one call; None for scaled dot products by buckets of like length.
    """

    tokens: int
    ahead: int | None
    sends: bool
    grouped: bool
    grouped_heads: bool
    varlen: Varlen | None


_HOST_TOKENS = 4096
"""Enough to fill two cores, small enough for a laptop's memory; fewer of a wide model (`_host_tokens`)."""
_DEVICE_TOKENS = 16384
"""What keeps a large GPU busy while the host prepares the next pass; halved where memory does not do."""
_AHEAD = 1024
"""Enough for some passes, few enough that the first ones do not wait long."""


def ways_of(device: torch.device, dtype: torch.dtype, model: PreTrainedModel) -> Ways:
    """The ways of a model of a precision on a device."""
    if device.type != "cuda":
        is_host = device.type == "cpu"
        ahead = None if is_host else _AHEAD
        tokens = _host_tokens(dtype, model)
        return Ways(tokens, ahead, sends=not is_host, grouped=is_host, grouped_heads=is_host, varlen=None)
    capability = torch.cuda.get_device_capability(device)
    can_flash = torch.backends.cuda.is_flash_attention_available()
    return cuda_ways(capability, dtype, head_width(model), varlen_attention() if can_flash else None)


def _host_tokens(dtype: torch.dtype, model: PreTrainedModel) -> int:
    """As many as make no block of hidden states that the C library gives back to the kernel each time it is freed."""
    widest = max(layer.out_features for layer in model.base_model.modules() if isinstance(layer, nn.Linear))
    return min(_HOST_TOKENS, (LARGEST_KEPT - 1) // (widest * dtype.itemsize))


def cuda_ways(capability: tuple[int, int], dtype: torch.dtype, head: int, varlen: Varlen | None) -> Ways:
    """The ways of a CUDA device of a compute capability.

    Args:
        capability: Major and minor.
        dtype: Of the layers.
        head: Numbers of a key.
        varlen: What torch has there.
    """
    return Ways(
        _DEVICE_TOKENS,
        _AHEAD,
        sends=True,
        grouped=groups(capability, dtype),
        grouped_heads=groups(capability, torch.float32),
        varlen=varlen if flashes(capability, dtype, head) else None,
    )


def groups(capability: tuple[int, int], dtype: torch.dtype) -> bool:
    """Whether a CUDA device multiplies groups without asking the host."""
    return dtype == torch.bfloat16 and capability[0] in _GROUPED


def flashes(capability: tuple[int, int], dtype: torch.dtype, head: int) -> bool:
    """Whether a CUDA device has flash attention for heads of this width."""
    is_half = dtype in {torch.bfloat16, torch.float16}
    return is_half and capability >= _LEAST_FLASH and head % _HEAD_LINE == 0 and head <= _WIDEST_HEAD


def head_width(model: PreTrainedModel) -> int:
    """Numbers of a key."""
    return int(model.config.hidden_size) // int(model.config.num_attention_heads)


def varlen_attention() -> Varlen | None:
    """What torch has for texts of any length; None in a version that knows no windows or no scale."""
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 (takes a third of a second to import)
    except ImportError:
        return None
    named = inspect.signature(varlen_attn).parameters
    return varlen_attn if {"scale", "window_size"} <= named.keys() else None
