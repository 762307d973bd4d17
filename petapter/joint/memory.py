"""How many modules train at once: what each step takes is measured on one pass, and the stack is split to fit."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from petapter.backbone import Backbone
from petapter.joint.passes import Asked, Passes
from petapter.joint.runs import JointRun, Slot
from petapter_schemas.errors import InputError

_MEMORY = Path("/proc/meminfo")
_SHARE = 0.5
"""Of the memory that is free, where nobody says how much may be taken."""
_HOST_TOKENS = 4096
"""Of a pass on a CPU, at most: enough to fill two cores, and more would only take memory."""
_DEVICE_TOKENS = 65536
_MOST_SLOTS = 64
_TRANSIENT = 1.25
"""What a pass takes by what is kept for its way back: intermediate results and gradients on their way too. Measured,
see tests/benchmarks/results/joint.md, which also tells what the C library holds beyond that."""


@dataclass(frozen=True)
class JointPlan:
    """How modules share the memory.

    Attributes:
        slots: Modules that train at the same time.
        modules: Of all, waiting ones too.
        tokens: Of a pass, at most; a step of all slots takes as many passes as it needs.
        largest: Of the largest pass, as rows will be drawn: all of a step's where they are fewer than `tokens`.
        token_bytes: What a pass takes for each token.
        slot_bytes: What a module takes while it trains.
        cached_bytes: States of texts below the cut.
        begun_bytes: First weights of those that wait.
    """

    slots: int
    modules: int
    tokens: int
    largest: int
    token_bytes: int
    slot_bytes: int
    cached_bytes: int
    begun_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Beside the backbone."""
        return self.largest * self.token_bytes + self.slots * self.slot_bytes + self.cached_bytes + self.begun_bytes

    def __str__(self) -> str:
        mib = 1 << 20
        return (
            f"{self.modules} modules, {self.slots} at a time: {self.peak_bytes // mib} MiB beside the backbone "
            f"({self.largest} tokens a pass {self.largest * self.token_bytes // mib}, weights "
            f"{self.slots * self.slot_bytes // mib}, cached states {self.cached_bytes // mib})"
        )


def plan_memory(
    runs: Sequence[JointRun], samples: Sequence[Slot], passes: Passes, backbone: Backbone, memory_bytes: int | None
) -> JointPlan:
    """Plan a stack.

    Args:
        runs: All that are to train.
        samples: One of each form, not begun; it is measured and thrown away.
        passes: What runs them; states are cached.
        backbone: Their backbone.
        memory_bytes: What may be taken; None for half of what is free.

    Raises:
        InputError: One module alone does not fit.
    """
    budget = may_take(backbone) if memory_bytes is None else memory_bytes
    measured = [_measured(slot, passes) for slot in samples]
    token_bytes = max(tokens for tokens, _ in measured)
    slot_bytes = max(slot.weights.nbytes + _head_bytes(slot) + 2 * slot.scales.nbytes for slot in samples)
    longest = max(most for _, most in measured)
    begun = sum(tensor.nbytes for slot in samples for tensor in slot.begun.tensors.values()) // len(samples) * len(runs)
    left = budget - passes.cached_bytes - begun
    least = longest * token_bytes + slot_bytes
    if left < least:
        needs = (budget - left + least) >> 20
        raise InputError(
            f"training one module takes {needs} MiB beside the backbone, and {budget >> 20} MiB may be taken: allow "
            "more memory, take fewer or shorter rows, or a smaller batch"
        )
    most_tokens = _DEVICE_TOKENS if backbone.device.type == "cuda" else _HOST_TOKENS
    slots = min(len(runs), _MOST_SLOTS, 1 + (left - least) // slot_bytes)
    while (tokens := min(most_tokens, slots * longest, (left - slots * slot_bytes) // token_bytes)) < longest:
        slots -= 1
    largest = min(tokens, _largest_step(runs, slots if passes.takes_many else 1))
    return JointPlan(slots, len(runs), tokens, largest, token_bytes, slot_bytes, passes.cached_bytes, begun)


def _largest_step(runs: Sequence[JointRun], slots: int) -> int:
    """Tokens of the largest step of so many modules side by side, each row in its longest pattern and window.

    Sets of modules are taken to begin together, and in the order in which they are given: where some take more steps
    than others, other steps meet.
    """
    drawn = [run.drawn_tokens() for run in runs]
    sets = [drawn[start : start + slots] for start in range(0, len(drawn), slots)]
    return max(sum(step) for each in sets for step in zip_longest(*each, fillvalue=0))


def may_take(backbone: Backbone) -> int:
    """Bytes that training takes at most where nobody says so: half of what is free on the backbone's device now."""
    return int(_free_bytes(backbone) * _SHARE)


def _free_bytes(backbone: Backbone) -> int:
    """Memory of the device that is free."""
    if backbone.device.type == "cuda":
        return int(torch.cuda.mem_get_info(backbone.device)[0])
    told = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMORY.read_text(), re.MULTILINE) if _MEMORY.exists() else None
    return int(told[1]) << 10 if told else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _head_bytes(slot: Slot) -> int:
    return sum(tensor.nbytes for tensor in slot.head.state_dict().values())


def _measured(slot: Slot, passes: Passes) -> tuple[int, int]:
    """What a module's pass takes for each token, and the most tokens that one of its steps may have."""
    drawn = slot.draw()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # a result that is handed back itself keeps its graph, and is never freed

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = passes.losses((Asked(slot, drawn),))
    del losses
    own = [*slot.head.state_dict().values(), *slot.weights.tensors]
    for weight in (*passes.model.parameters(), *own):
        kept.pop(weight.untyped_storage().data_ptr(), None)
    # what stands for a module however many tokens a pass has is planned by slot: the weights that run, and their scales
    per_token = int(max(0, sum(kept.values()) - 2 * slot.scales.nbytes) * _TRANSIENT / drawn.tokens) + 1
    longest = max(len(text.input_ids) for windows in slot.run.rows.encoded for text in windows.encoded)
    return per_token, longest * min(slot.options.batch_size, len(slot.run.rows.examples))
