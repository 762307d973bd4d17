"""Passes that are recorded once and then run again with other numbers: CUDA graphs, one for each shape of a pass.

A small pass is over before the host has launched the next of its several hundred kernels; a graph of them is one
launch. What runs again reads the very memory that it read when it was recorded. So what differs from pass to pass
stands in fixed places: the numbers that steer it on one page, which is sent as a whole, and the rows of the adapters in
one block for each bank. Heads are not recorded, since they differ in more than sizes, nor are passes with a trunk,
those of many tokens, which keep the device busy by themselves, and the first of a shape, which may be the only one.

A recorded pass computes its last layer of all tokens.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from petapter.backbone import Backbone
from petapter.runtime.arrays import Arrays, Sent
from petapter.runtime.attention import Segments
from petapter.runtime.banks import Active, Bank
from petapter.runtime.packed import Hidden, Prepared, Running, is_packable, packed_inputs, run_pack
from petapter.runtime.plan import Pack
from petapter.runtime.products import Groups
from petapter.runtime.shapes import Filled, Shape, filled
from petapter.runtime.ways import Varlen, Ways
from petapter.task import EncodedText

Again = Callable[[], Hidden]
"""Runs what was recorded; what it gives stands where it stood before, until it is run again."""
Record = Callable[[Again], Again]

_MOST_TOKENS = 4096
"""Beyond it the device has enough to do with a pass for the host to launch the next kernels meanwhile."""
_MOST_GRAPHS = 64
_MOST_SEEN = 1024

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
    """Rows of adapters, [modules, P], and which modules' they are now."""

    rows: Tensor
    modules: tuple[int, ...] = ()


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
        self._broken = False
        self._recorded: OrderedDict[Shape, _Recorded] = OrderedDict()
        self._blocks: dict[tuple[int, int], _Block] = {}
        self._seen: OrderedDict[Shape, None] = OrderedDict()

    def __len__(self) -> int:
        """Passes that are recorded."""
        return len(self._recorded)

    def prepared(self, encoded: Sequence[EncodedText], pack: Pack, pooled: frozenset[int]) -> tuple[Pack, Again] | None:
        """Lay out a pass that is recorded, now or before; None if it is to run as it is.

        Args:
            encoded: All encodings that were planned.
            pack: The pass.
            pooled: Lower layers that heads read.

        Returns:
            The pass with its texts where they stand in the recorded one, and what runs it; its hidden states are to be
            read before any other pass runs.
        """
        if self._broken or pack.trunk is not None or pack.tokens > _MOST_TOKENS:
            return None
        wanted = filled(pack, pooled, self._backbone.max_tokens)
        if not self._is_known(wanted.shape):
            return None
        known = self._recorded.get(wanted.shape)
        if known is None:
            known = self._recorded_now(encoded, pack, wanted)
            if known is None:
                return None
        else:
            self._recorded.move_to_end(wanted.shape)
            self._lay_out(encoded, pack, wanted, known.page)
        return replace(pack, starts=wanted.starts), known.again

    def clear(self) -> None:
        """Forget all of it."""
        self._recorded.clear()
        self._blocks.clear()
        self._seen.clear()

    def _is_known(self, shape: Shape) -> bool:
        """Whether there was a pass of this shape before."""
        known = shape in self._seen
        self._seen[shape] = None
        self._seen.move_to_end(shape)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return known

    def _recorded_now(self, encoded: Sequence[EncodedText], pack: Pack, wanted: Filled) -> _Recorded | None:
        """A pass, recorded; where that fails, passes run as they are from now on."""
        shape = wanted.shape
        page = torch.empty(_page_bytes(shape), dtype=torch.uint8, device=self._backbone.device)
        prepared = self._lay_out(encoded, pack, wanted, page)
        try:
            again = self._record(partial(run_pack, self._backbone, prepared, shape.pooled))
        except RuntimeError as error:  # of torch, also where memory does not do
            logger.warning("passes are not recorded as CUDA graphs any more: %s", " ".join(str(error).split()))
            self._broken = True
            self.clear()
            return None
        known = self._recorded[shape] = _Recorded(page, prepared, again)
        if len(self._recorded) > _MOST_GRAPHS:
            self._recorded.popitem(last=False)
        return known

    def _lay_out(self, encoded: Sequence[EncodedText], pack: Pack, wanted: Filled, page: Tensor) -> Prepared:
        """Put the numbers of a pass on its page, and the rows of its modules into their blocks."""
        arrays = Sent(self._backbone.device, page)
        shape, pad = wanted.shape, self._backbone.pad_id
        items = [
            EncodedText((pad,) * length, (), 0) if place is None else encoded[pack.order[place]]
            for place, length in wanted.texts
        ]
        ends = np.cumsum([0, *[length for _, length in wanted.texts]])
        offsets = np.concatenate([ends, np.full(shape.texts - len(wanted.texts), ends[-1])])
        texts = Segments(arrays.put(offsets, np.int32), shape.longest, self._varlen)
        inputs = packed_inputs(self._backbone, items, arrays)
        prepared = Prepared(inputs, Running(texts, tuple(self._active(wanted, arrays))), is_packed=True)
        arrays.send()
        return prepared

    def _active(self, wanted: Filled, arrays: Arrays) -> list[Active]:
        acting: list[Active] = []
        start = 0
        for section, ends, modules in zip(wanted.shape.sections, wanted.ends, wanted.modules, strict=True):
            span = slice(start, start + section.tokens)
            start = span.stop
            if section.bank is None:
                continue
            bank, counts = self._banks[section.bank], np.diff(ends, prepend=0)
            row_of = np.repeat(np.arange(section.modules), counts)
            groups = Groups(arrays.put(ends, np.int32), arrays.put(row_of), None)
            acting.append(Active(bank, self._rows(section.bank, section.modules, modules), span, groups))
        return acting

    def _rows(self, number: int, room: int, modules: tuple[int, ...]) -> Tensor:
        """The block of a bank with room for so many modules, with the rows of these."""
        block = self._blocks.get((number, room))
        if block is None or block.modules != modules:
            rows = self._banks[number].rows_of(modules)
            if block is None:
                block = self._blocks[number, room] = _Block(rows[0].new_zeros(room, len(rows[0])))
            torch.stack(rows, out=block.rows[: len(rows)])
            block.modules = modules
        return block.rows


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

    def record(run: Again) -> Again:
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # libraries take their memory when they are called first, which no graph may do
            run()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            hidden = run()

        def again() -> Hidden:
            graph.replay()
            return hidden

        return again

    return record


def _page_bytes(shape: Shape) -> int:
    """Enough for the numbers of a pass: ids, positions and modules by token, ends of texts and modules."""
    lines = 3 + 2 * len(shape.sections)
    numbers = 3 * shape.tokens + shape.texts + 1 + sum(section.modules for section in shape.sections)
    return 8 * numbers + 16 * lines
