"""How the weights of modules reach a device, and come back to it while it runs: beside that, from pinned memory.

A module that makes room is forgotten there and kept here in the form in which it runs, so that to bring it back is to
copy. On a device with a memory of its own the copies have a stream of their own: the host goes on at once, passes that
were begun run on, and the next one waits for the copies alone. A CPU reads what is kept as it is.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from petapter.runtime.heads import Features, LoadedHead, Scorer

_Move = Callable[[Tensor], Tensor]
_Layer = TypeVar("_Layer", bound=nn.Module)


@dataclass(frozen=True)
class Ready:
    """A module as it runs.

    Attributes:
        bank: Number of the bank of its adapter; None without one.
        row: Its adapter there; None without one.
        head: Its head.
        shared: The backbone's own dense layer and norm, which are always on the device and not moved.
    """

    bank: int | None
    row: Tensor | None
    head: LoadedHead
    shared: Features | None

    @property
    def nbytes(self) -> int:
        """Bytes of its own weights."""
        return (0 if self.row is None else self.row.nbytes) + self.head.nbytes(self.shared)

    def moved(self, move: _Move) -> "Ready":
        """The same elsewhere."""
        scorers = tuple(Scorer(move(one.weight), move(one.bias)) for one in self.head.scorers)
        features = self.head.features
        if features is not None and features is not self.shared:
            features = Features(_moved(features.dense, move), features.activation, _moved(features.norm, move))
        row = None if self.row is None else move(self.row)
        return replace(self, row=row, head=replace(self.head, features=features, scorers=scorers))


class Staging:
    """The way of weights between the host and a device."""

    def __init__(self, device: torch.device) -> None:
        """No copy is under way."""
        self._device = device
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def kept(self, ready: Ready) -> Ready:
        """A module in the memory of the host, from which it can be sent; on a CPU the very same."""
        return ready if self._device.type == "cpu" else ready.moved(self._keep)

    def sent(self, ready: Ready) -> Ready:
        """A module that is kept on the host on the device; to be used after `arrive` alone."""
        if self._device.type == "cpu":
            return ready
        if self._side is None:
            return ready.moved(self._send)
        reader = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._side):
            there = ready.moved(self._send)
        there.moved(partial(_read_by, reader))
        return there

    def arrive(self) -> None:
        """See to it that what runs on the device from now on finds all that was sent; the host does not wait."""
        if self._side is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._side)

    def _keep(self, tensor: Tensor) -> Tensor:
        here = tensor.cpu()
        return here if self._side is None else here.pin_memory()

    def _send(self, tensor: Tensor) -> Tensor:
        there = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        return there.copy_(tensor, non_blocking=True)


def _read_by(stream: torch.cuda.Stream, tensor: Tensor) -> Tensor:
    """Once it is forgotten, its memory must not be given away before the passes of that stream have read it."""
    tensor.record_stream(stream)
    return tensor


def _moved(module: _Layer, move: _Move) -> _Layer:
    """A copy of a module around weights that were moved; `deepcopy` takes them for copied already."""
    weights = {id(weight): nn.Parameter(move(weight), requires_grad=False) for weight in module.parameters()}
    return copy.deepcopy(module, weights)
