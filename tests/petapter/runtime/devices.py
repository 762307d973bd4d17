"""What stands in for a CUDA device: its ways on the CPU, with numbers; and a device of shapes, on which to wait fails.

torch without CUDA has no device guard for fake tensors of the device "cuda", but for those of "meta" it has. These
follow every operation, refuse operands on different devices, and raise where a value would have to be read.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from petapter import Backbone, Engine
from petapter.runtime.heads import Scorer
from petapter.runtime.ways import Varlen, Ways, cuda_ways, head_width

HOPPER, AMPERE = (9, 0), (8, 0)


def varlen_by_segments(  # noqa: PLR0917 (as torch has it)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """What `torch.nn.attention.varlen.varlen_attn` computes, text by text, after its documentation."""
    ends_q, ends_k = cu_seq_q.tolist(), cu_seq_k.tolist()
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert (ends_q[0], ends_q[-1]) == (0, len(query))
    assert (ends_k[0], ends_k[-1]) == (0, len(key))
    assert (max_q, max_k) == (_longest(ends_q), _longest(ends_k))
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    found = [
        _attended(query[a:b], key[c:d], value[c:d], scale, window_size)
        for a, b, c, d in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False)
    ]
    return torch.cat(found)


def _longest(ends: Sequence[int]) -> int:
    return max(end - start for start, end in itertools.pairwise(ends))


def _attended(query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: tuple[int, int]) -> Tensor:
    place = torch.arange(len(key))
    ahead = place[None, :] - place[len(key) - len(query) :, None]  # the last query stands at the last key
    left, right = (len(key) if side < 0 else side for side in window)
    seen = (-left <= ahead) & (ahead <= right)
    states = (states.transpose(0, 1) for states in (query, key, value))  # [heads, R or T, D]
    return nn.functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=scale).transpose(0, 1)


def ways_on(capability: tuple[int, int], dtype: torch.dtype, backbone: Backbone, varlen: Varlen | None) -> Ways:
    """The ways of a CUDA device, with attention of any other."""
    return cuda_ways(capability, dtype, head_width(backbone.model), varlen)


@dataclass
class Traffic(TorchDispatchMode):
    """Counts what passes between the host and a device while it is entered.

    Attributes:
        sent: Copies to the device.
        waited: Copies to the device for which the host would wait.
        read: Copies from the device.
    """

    sent: int = 0
    waited: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sources = [given for given in args if isinstance(given, Tensor)]
        if sources and isinstance(result, Tensor):
            source = sources[1] if func is torch.ops.aten.copy_.default else sources[0]
            asked = [*args[2:], *(kwargs or {}).values()] if func is torch.ops.aten.copy_.default else []
            self._count(source.device.type, result.device.type, is_free=True in asked)
        return result

    def _count(self, source: str, target: str, *, is_free: bool) -> None:
        if (source, target) == ("cpu", "meta"):
            self.sent += 1
            self.waited += not is_free
        elif (source, target) == ("meta", "cpu"):
            self.read += 1


@contextmanager
def shapes_alone() -> Iterator[None]:
    """A world in which tensors have devices and shapes, but no values."""
    with config.patch(fake_tensor_allow_meta=True):
        mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        yield


def own(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """A copy of a backbone, of a precision."""
    model = copy.deepcopy(backbone.model)
    nn.Module.to(model.base_model, dtype)
    return replace(backbone, model=model)


def send_away(engine: Engine) -> None:
    """Take all weights of an engine and of its own backbone to the device of shapes."""
    runner = engine._runner
    nn.Module.to(runner._backbone.model, "meta")
    for bank in runner._banks:
        bank._rows = {number: row.to("meta") for number, row in bank._rows.items()}
    for number, head in runner._heads.items():
        scorers = tuple(Scorer(one.weight.to("meta"), one.bias.to("meta")) for one in head.scorers)
        if head.features is not None:
            for part in (head.features.dense, head.features.norm):
                part.to("meta")
        runner._heads[number] = replace(head, scorers=scorers)
