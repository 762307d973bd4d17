"""Passes that are recorded once and then run again with other numbers: CUDA graphs, one for each shape of a pass.

A small pass is over before the host has launched the next of its several hundred kernels; a graph of them is one
launch. What runs again reads the very memory that it read when it was recorded. So what differs from pass to pass
stands in fixed places: the numbers that steer it on one page, which is sent as a whole, and the rows of adapters in a
block for each bank and number of modules. Heads are not recorded, since they differ in more than sizes; nor are passes
with a trunk, those of many tokens, which keep the device busy by themselves, and those of a shape that is seldom seen,
since to record one takes as long as to run it several times.

A recorded pass computes its last layer of all tokens, and every bank that occurs acts on all of them.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.runtime.arrays import Arrays, Sent
from petapter.runtime.attention import Segments
from petapter.runtime.banks import Active, Bank
from petapter.runtime.packed import Hidden, Prepared, Running, is_packable, model_inputs, packed_numbers, run_pack
from petapter.runtime.plan import Pack, Span
from petapter.runtime.products import MOST_GROUPS, Groups
from petapter.runtime.shapes import Filled, Shape, ends_in, filled
from petapter.runtime.ways import Varlen, Ways
from petapter.task import EncodedText

Again = Callable[[], Hidden]
"""Runs what was recorded; what it gives stands where it stood before, until it is run again."""
Record = Callable[[Again], Again]

_MOST_TOKENS = 4096
"""Beyond it the device has enough to do with a pass for the host to launch the next kernels meanwhile."""
_MOST_BANKS = 4
"""Each acts on all tokens."""
_OFTEN = 4
"""Passes of a shape from which on it is recorded."""
_MOST_GRAPHS = 64
_MOST_COUNTED = 1024
_MOST_FAILURES = 3
"""Times that memory may not do for a recording before there are no more."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Recorded:
    """A pass that can run again.

    Attributes:
        page: Where the numbers that steer it stand.
        prepared: What it was recorded of; held, since it reads that memory.
        again: Runs it.
    """

    page: Tensor
    prepared: Prepared
    again: Again


@dataclass
class _Block:
    """Rows of adapters, [modules, P], of which the first and the last change nothing, and which modules' they are."""

    rows: Tensor
    modules: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Numbers:
    """What steers a pass, on its page.

    Attributes:
        offsets: Where texts begin, and the last ends, int32 [texts + 1].
        ids: Tokens, [1, T].
        positions: Of them, [1, T].
        groups: By bank, its tokens by module.
    """

    offsets: Tensor
    ids: Tensor
    positions: Tensor
    groups: tuple[Groups, ...]


class Graphs:
    """Recorded passes by their shape, the least recently used of which make room."""

    def __init__(self, backbone: Backbone, banks: Sequence[Bank], varlen: Varlen, record: Record) -> None:
        """Nothing is recorded.

        Args:
            backbone: Whose passes they are; packable.
            banks: By number; may grow.
            varlen: Attention, which takes texts of no tokens.
            record: Records what a function runs on the device.
        """
        self._backbone = backbone
        self._banks = banks
        self._varlen = varlen
        self._record = record
        self._failures = 0
        self._recorded: OrderedDict[Shape, _Recorded] = OrderedDict()
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._counted: OrderedDict[Shape, int] = OrderedDict()

    def __len__(self) -> int:
        """Passes that are recorded."""
        return len(self._recorded)

    def prepared(self, encoded: Sequence[EncodedText], pack: Pack, pooled: frozenset[int]) -> Again | None:
        """Lay out a pass that is recorded, now or before; None if it is to run as it is.

        Args:
            encoded: All encodings that were planned.
            pack: The pass.
            pooled: Lower layers that heads read.

        Returns:
            What runs it; its hidden states, by the tokens of the pass, are to be read before any other pass runs.
        """
        if self._failures >= _MOST_FAILURES or not _may_be(pack):
            return None
        wanted = filled(pack, pooled, self._backbone.max_tokens)
        known = self._recorded.get(wanted.shape)
        if known is not None:
            self._recorded.move_to_end(wanted.shape)
            self._put(encoded, pack, wanted, known.page)
            return known.again
        return self._recorded_now(encoded, pack, wanted) if self._is_frequent(wanted.shape) else None

    def clear(self) -> None:
        """Forget all of it, and free its memory."""
        self._recorded.clear()
        self._blocks.clear()
        self._counted.clear()

    def _is_frequent(self, shape: Shape) -> bool:
        self._counted[shape] = self._counted.pop(shape, 0) + 1
        if len(self._counted) > _MOST_COUNTED:
            self._counted.popitem(last=False)
        return self._counted[shape] >= _OFTEN

    def _recorded_now(self, encoded: Sequence[EncodedText], pack: Pack, wanted: Filled) -> Again | None:
        """What runs a pass, recorded; where that fails, passes run as they are from now on."""
        shape = wanted.shape
        try:
            page = torch.empty(_page_bytes(shape), dtype=torch.uint8, device=self._backbone.device)
            prepared = self._laid_out(self._put(encoded, pack, wanted, page), shape)
            again = self._record(partial(run_pack, self._backbone, prepared, shape.pooled))
        except torch.OutOfMemoryError:
            self.clear()  # there may be memory again later
            self._failures += 1
            return None
        except RuntimeError as error:
            logger.warning("passes are not recorded as CUDA graphs any more: %s", " ".join(str(error).split()))
            self.clear()
            self._failures = _MOST_FAILURES
            return None
        for active in prepared.now.active:
            active.forget()
        self._recorded[shape] = _Recorded(page, prepared, again)
        if len(self._recorded) > _MOST_GRAPHS:
            forgotten, _ = self._recorded.popitem(last=False)
            self._counted.pop(forgotten, None)
            used = {room for kept in self._recorded for room in kept.rooms}
            self._blocks = {room: block for room, block in self._blocks.items() if room in used}
        return again

    def _put(self, encoded: Sequence[EncodedText], pack: Pack, wanted: Filled, page: Tensor) -> _Numbers:
        """Put the numbers of a pass on its page, and the rows of its modules into their blocks."""
        shape, pad = wanted.shape, self._backbone.pad_id
        arrays = Sent(self._backbone.device, page)
        items = [encoded[number] for number in pack.order]
        items += [EncodedText((pad,) * length, (), 0) for length in wanted.filling]
        ends = np.cumsum([0, *pack.lengths, *wanted.filling])
        offsets = arrays.put(np.pad(ends, (0, shape.texts + 1 - len(ends)), mode="edge"), np.int32)
        ids, positions = packed_numbers(self._backbone, items, arrays)
        rooms = zip(pack.spans, shape.rooms, strict=True)
        numbers = _Numbers(
            offsets, ids, positions, tuple(_groups(span, room, shape.tokens, arrays) for span, (_, room) in rooms)
        )
        for span, room in zip(pack.spans, shape.rooms, strict=True):
            self._fill(room, span.modules)
        arrays.send()
        return numbers

    def _laid_out(self, numbers: _Numbers, shape: Shape) -> Prepared:
        texts = Segments(numbers.offsets, shape.longest, self._varlen)
        every = slice(0, shape.tokens)
        active = tuple(
            Active(self._banks[room[0]], self._blocks[room].rows, every, groups)
            for room, groups in zip(shape.rooms, numbers.groups, strict=True)
        )
        inputs = model_inputs(self._backbone, numbers.ids, numbers.positions)
        return Prepared(inputs, Running(texts, active), is_packed=True)

    def _fill(self, room: tuple[int, int], modules: tuple[int, ...]) -> None:
        """Lay the rows of modules into the block of a bank with room for so many."""
        bank, block = self._banks[room[0]], self._blocks.get(room)
        if block is not None and block.modules == modules:
            return
        rows = bank.rows_of(modules)
        neutral = bank.neutral_like(rows[0])
        if block is None:
            block = self._blocks[room] = _Block(neutral.repeat(room[1], 1))
        torch.stack(rows, out=block.rows[1 : len(rows) + 1])
        block.rows[len(rows) + 1 :] = neutral
        block.modules = modules


def graphs_of(backbone: Backbone, banks: Sequence[Bank], ways: Ways) -> Graphs | None:
    """Graphs of a backbone's passes; None where a pass asks the host for sizes while it runs.

    Args:
        backbone: The backbone.
        banks: As `Graphs` takes them.
        ways: Of its device.
    """
    if ways.varlen is None or not ways.grouped or not is_packable(backbone):
        return None
    return Graphs(backbone, banks, ways.varlen, record_cuda(backbone.device))


def record_cuda(device: torch.device) -> Record:
    """Records as CUDA graphs; all share one pool of memory, as only one of them runs at a time."""
    pool = torch.cuda.graph_pool_handle()
    side = torch.cuda.Stream(device)
    failed: list[torch.cuda.CUDAGraph] = []

    def record(run: Again) -> Again:
        caller = torch.cuda.current_stream(device)
        side.wait_stream(caller)
        try:
            with torch.cuda.stream(side):  # libraries take memory when they are called first, which no graph may do
                run()
        finally:
            caller.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
                hidden = run()
        except BaseException:
            _leave(device, caller, pool)
            failed.append(graph)  # the allocator may still ask it
            raise

        def again() -> Hidden:
            graph.replay()
            return hidden

        return again

    return record


def _leave(device: torch.device, caller: torch.cuda.Stream, pool: tuple[int, int]) -> None:
    """Go back to a stream from a recording that failed.

    torch leaves the recording's stream, and ends what it told the allocator, after the recording ended without an
    error alone (`torch.cuda.graph.__exit__`, and aten/src/ATen/cuda/CUDAGraph.cpp).
    """
    torch.cuda.set_stream(caller)
    index = torch.cuda.current_device() if device.index is None else device.index
    with suppress(RuntimeError):  # where it did end, there is nothing to end
        torch._C._cuda_endAllocateToPool(index, pool)  # noqa: SLF001 (there is no public way)
        torch._C._cuda_releasePool(index, pool)  # noqa: SLF001


def _may_be(pack: Pack) -> bool:
    """Whether a pass can be recorded."""
    fits = all(len(span.modules) + 2 <= MOST_GROUPS for span in pack.spans)
    return fits and pack.trunk is None and pack.tokens <= _MOST_TOKENS and len(pack.spans) <= _MOST_BANKS


def _groups(span: Span, room: int, tokens: int, arrays: Arrays) -> Groups:
    """All tokens of a pass by module of a bank."""
    ends = ends_in(span, room, tokens)
    row_of = np.repeat(np.arange(room), np.diff(ends, prepend=0))
    return Groups(arrays.put(ends, np.int32), arrays.put(row_of), None)


def _page_bytes(shape: Shape) -> int:
    """Enough for the numbers of a pass: ids and positions, by bank modules by token, ends of texts and modules."""
    banks = len(shape.rooms)
    numbers = (2 + banks) * shape.tokens + shape.texts + 1 + sum(room for _, room in shape.rooms)
    return 8 * numbers + 16 * (3 + 2 * banks)
