"""The arrays that steer a pass, from the host to the device: not copied on a CPU, one copy per pass elsewhere.

A plan is made of many short lists of numbers. Copied one by one each would cost a launch and, from memory that is not
pinned, a wait for everything that runs. So a place on the device is given out for each at once, and what is to stand
there follows for all of them together.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

Values = Sequence[int] | NDArray[np.generic]

_LINE = 16
"""Bytes; every array begins at a multiple of so many, as kernels that read several numbers at once want it."""
_PAGE = 1 << 20
"""Bytes that go to the device at once: several times the arrays of a pass of 16,384 tokens without windows of texts."""


class Arrays(Protocol):
    """Where the arrays of one pass are put."""

    def put(self, values: Values, dtype: DTypeLike = np.int64) -> Tensor:
        """The values on the device, of the same shape; they may be read after `send` alone."""

    def send(self) -> None:
        """Copy what was put."""


class Here:
    """Arrays of a device that reads the host's memory."""

    def put(self, values: Values, dtype: DTypeLike = np.int64) -> Tensor:
        """The values as they are, or copied if they are a list."""
        return torch.from_numpy(np.asarray(values, dtype))

    def send(self) -> None:
        """Nothing is to be copied."""


class Sent:
    """Arrays of a device with a memory of its own: a copy for each page of them, which nothing waits for."""

    def __init__(self, device: torch.device, page: Tensor | None = None) -> None:
        """No page is open.

        Args:
            device: Where the arrays go.
            page: Bytes on it that are to be the one page, so that what is put in the same order stands in the same
                places again; None for new ones.
        """
        self._device = device
        self._given = page
        self._page: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._there = torch.empty(0)
        self._used = 0

    def put(self, values: Values, dtype: DTypeLike = np.int64) -> Tensor:
        """A place on the device where the values will be."""
        array = np.ascontiguousarray(values, dtype)
        start = -(-self._used // _LINE) * _LINE
        if not len(self._page) or start + array.nbytes > len(self._page):
            self.send()
            self._open(array.nbytes)
            start = 0
        self._used = start + array.nbytes
        self._page[start : self._used] = array.reshape(-1).view(np.uint8)
        place = self._there[start : self._used].view(_TYPES[array.dtype.name])
        return place.view(array.shape)

    def send(self) -> None:
        """Copy the open page from pinned memory, in the order of what runs on the device."""
        if not self._used:
            return
        pinned = torch.empty(self._used, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        pinned.copy_(torch.from_numpy(self._page[: self._used]))
        self._there[: self._used].copy_(pinned, non_blocking=True)
        self._page, self._used = self._page[:0], 0

    def _open(self, size: int) -> None:
        if self._given is not None:
            if self._there is self._given or size > len(self._given):
                raise ValueError(f"a page of {len(self._given)} bytes is too small for the arrays of a pass")
            self._page, self._there = np.empty(len(self._given), np.uint8), self._given
            return
        self._page = np.empty(max(_PAGE, size), np.uint8)
        self._there = torch.empty(len(self._page), dtype=torch.uint8, device=self._device)


_TYPES = {"int64": torch.int64, "int32": torch.int32, "bool": torch.bool}


def ends_of(counts: Sequence[int]) -> NDArray[np.int32]:
    """Where groups of so many rows end, int32 [K]."""
    return np.cumsum(counts, dtype=np.int32)


def ranges(starts: Sequence[int], counts: Sequence[int]) -> NDArray[np.int64]:
    """The numbers from each start on, so many of each, one after the other."""
    sizes = np.asarray(counts, np.int64)
    begins = np.repeat(np.asarray(starts, np.int64) - (np.cumsum(sizes) - sizes), sizes)
    return begins + np.arange(len(begins))
