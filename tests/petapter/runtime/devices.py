"""What stands in for a CUDA device: its ways on the CPU, with numbers; and a device of shapes, on which to wait fails.

torch without CUDA has no device guard for fake tensors of the device "cuda", but for those of "meta" it has. These
follow every operation, refuse operands on different devices, and raise where a value would have to be read.
"""

import copy
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from petapter import Backbone, Engine
from petapter.runtime.graphs import Again
from petapter.runtime.heads import Scorer
from petapter.runtime.packed import Hidden
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


def varlen_on_the_device(  # noqa: PLR0917 (as torch has it)
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
    """The same without a look at the offsets, as a device has it."""
    text_of, place_of = zip(*(_placed(len(x), ends) for x, ends in ((query, cu_seq_q), (key, cu_seq_k))), strict=True)
    sizes = [cu_seq_k.diff(), cu_seq_q.diff()]
    asking = place_of[0] + (sizes[0] - sizes[1]).index_select(0, text_of[0])  # the last query stands at the last key
    seen = (text_of[0][:, None] == text_of[1]) & (place_of[0] < max_q)[:, None] & (place_of[1] < max_k)
    ahead = place_of[1] - asking[:, None]
    left, right = (len(key) if side < 0 else side for side in window_size)
    seen &= (-left <= ahead) & (ahead <= right)
    states = (states.transpose(0, 1) for states in (query, key, value))  # [heads, R or T, D]
    return nn.functional.scaled_dot_product_attention(*states, attn_mask=seen, scale=scale).transpose(0, 1)


def _placed(tokens: int, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Of tokens, the number of their text and their place in it."""
    number = torch.arange(tokens)
    text = torch.searchsorted(offsets[1:].contiguous(), number, right=True)
    return text, number - offsets.index_select(0, text)


@dataclass
class Tape(TorchDispatchMode):
    """Records operations while it is entered, and runs them again on the very tensors that they had: a CUDA graph.

    What is a number then is that number again, what was read from the host's memory is not read again, and results
    stand where they stood.

    Attributes:
        recorded: Operations, what they were given, and their results.
    """

    recorded: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func not in _READS, f"{func} reads a number from the device"
        result = func(*args, **(kwargs or {}))
        self.recorded.append((func, args, kwargs or {}, result))
        return result

    def play(self) -> None:
        """Run all of it again."""
        for func, args, kwargs, result in self.recorded:
            again = func(*args, **kwargs)
            for old, new in zip(_each(result), _each(again), strict=True):
                if (
                    old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr()
                ):  # no view, nor changed in place
                    old.copy_(new)


_READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}


def _each(result: Any) -> Sequence[Tensor]:
    return result if isinstance(result, (tuple, list)) else (result,)


@dataclass
class Recorder:
    """Records passes of graphs on tapes.

    Attributes:
        tapes: What was recorded.
        played: How often.
    """

    tapes: list[Tape] = field(default_factory=list)
    played: int = 0

    def __call__(self, run: Again) -> Again:
        """Record."""
        tape = Tape()
        with tape:
            hidden = run()
        self.tapes.append(tape)

        def again() -> Hidden:
            tape.play()
            self.played += 1
            return hidden

        return again
