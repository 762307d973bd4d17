"""Runs packed encodings through a backbone's own model: one row of tokens in which each attends to its own text alone.

transformers lets a model take its attention from elsewhere by name, and gives it no mask then; all else of the model is
as it is. Architectures that compute attention themselves are run padded (`is_packable`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from petapter.backbone import Backbone
from petapter.runtime.arrays import Arrays, ranges
from petapter.runtime.attention import Texts, attend, texts_of
from petapter.runtime.plan import Pack, Trunk
from petapter.runtime.thinning import Dropped, Thinning
from petapter.runtime.ways import Ways
from petapter.task import EncodedText

if TYPE_CHECKING:
    from petapter.runtime.banks import Active

_ATTENTION = "petapter_packed"
_PACKABLE = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"})
_FROM_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})
"""Positions of these are numbered from the padding token's id + 1."""
_WITHOUT_SEGMENTS = frozenset({"distilbert", "modernbert"})


@dataclass(frozen=True)
class Running:
    """What the layers of a model need to know of the pass that runs.

    Attributes:
        texts: For attention; none where the pass is padded.
        active: Banks of adapters that act in it.
        narrow: What the last layer may leave out; None if all of it is wanted.
        above: How the pass goes on above its trunk; None without one.
        laid_out: Above a trunk: by token, where it stood there, [T]; what the model gives layers by token is the
            trunk's.
        thinning: Dropout while modules train; None else.
    """

    texts: Texts
    active: "tuple[Active, ...]"
    narrow: "Narrow | None" = None
    above: "Above | None" = None
    laid_out: Tensor | None = None
    thinning: Thinning | None = None

    def dropped(self, rate: float, looked_at: "Running | None" = None) -> Dropped | None:
        """Dropout of the attention of the tokens that pass, to those of another running pass if it is not this one."""
        asked = self if looked_at is None else looked_at
        if not rate or self.thinning is None or asked.thinning is None:
            return None
        return Dropped(self.thinning, asked.thinning.lengths, rate)


@dataclass(frozen=True)
class Above:
    """How a pass goes on where encodings that were the same part.

    Attributes:
        layer: Number of the first layer above the trunk.
        tokens: By token of the pack, where it stands in the trunk, [T].
        running: The pass from there on.
    """

    layer: int
    tokens: Tensor
    running: Running


@dataclass(frozen=True)
class Narrow:
    """The tokens of the last layer that a head reads.

    Attributes:
        read: Which tokens of the pack, ascending, [R].
        running: The pass as it is for these tokens alone; its texts are those of all tokens, in the same order.
        heads: Attention heads.
    """

    read: Tensor
    running: Running
    heads: int


running: ContextVar[Running | None] = ContextVar("running", default=None)
"""The pass that runs; None outside one."""


def is_packable(backbone: Backbone) -> bool:
    """Whether the backbone's texts can stand in one row without padding."""
    return str(backbone.model.config.model_type) in _PACKABLE


@dataclass(frozen=True)
class Read:
    """Which tokens heads read in the last layer.

    Attributes:
        tokens: Tokens of the pack, ascending.
        counts: How many of them by place, one or more.
        active: Banks as they act on these tokens.
        thinning: Of these tokens while modules train; None else.
    """

    tokens: tuple[int, ...]
    counts: tuple[int, ...]
    active: "tuple[Active, ...]"
    thinning: Thinning | None = None


@dataclass(frozen=True)
class Acting:
    """What modules do to a pass.

    Attributes:
        active: Banks of adapters.
        read: What the last layer is to be narrowed to, where `Layers` can.
        thinning: Dropout while they train; None else.
    """

    active: "tuple[Active, ...]" = ()
    read: Read | None = None
    thinning: Thinning | None = None


@dataclass(frozen=True)
class Prepared:
    """A pass that can run as soon as its arrays are sent.

    Attributes:
        inputs: What the model takes, by name.
        now: What its layers need to know.
        is_packed: Whether its texts stand in one row.
    """

    inputs: dict[str, Tensor]
    now: Running
    is_packed: bool


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a pass.

    Attributes:
        last: Of the last layer, [T, H], or [R, H] if it was narrowed.
        layers: By number, those of lower layers that are to be pooled, [T, H].
    """

    last: Tensor
    layers: dict[int, Tensor]

    def at(self, rows: Tensor, layer: int | None = None) -> Tensor:
        """Hidden states of rows, of the last layer or of a lower one, float32 [N, H]."""
        states = self.last if layer is None else self.layers.get(layer, self.last)
        return states.index_select(0, rows).float()


def prepare_pack(
    backbone: Backbone, encoded: Sequence[EncodedText], pack: Pack, acting: Acting, arrays: Arrays, ways: Ways
) -> Prepared:
    """Lay out a pass on the host.

    Args:
        backbone: Whose model is to run it.
        encoded: All encodings that were planned.
        pack: Which of them run, and where they stand; of equal lengths, padded, where the backbone is not packable.
        acting: What modules do to it.
        arrays: Where its numbers go.
        ways: Of the device.
    """
    items = [encoded[number] for number in pack.order]
    if not is_packable(backbone):
        inputs = _padded_inputs(items, pack.lengths[0], backbone.pad_id, arrays)
        return Prepared(inputs, Running((), acting.active, thinning=acting.thinning), is_packed=False)
    texts = texts_of(pack.lengths, pack.buckets, arrays, ways.varlen)
    read = acting.read
    narrow = None if read is None else _narrow(backbone, pack, read, arrays, ways)
    now = Running(texts, acting.active, narrow, thinning=acting.thinning)
    if pack.trunk is not None:
        items = [encoded[number] for number in pack.trunk.order]
        now = _from_trunk(pack, pack.trunk, now, arrays, ways)
    inputs = model_inputs(backbone, *packed_numbers(backbone, items, arrays))
    return Prepared(inputs, now, is_packed=True)


def run_pack(backbone: Backbone, prepared: Prepared, pooled: frozenset[int] = frozenset()) -> Hidden:
    """Run a pass whose arrays were sent.

    Args:
        backbone: Its model may be called by nobody else meanwhile.
        prepared: The pass.
        pooled: Hidden states to return beside the last.

    Raises:
        BackboneError: The architecture does not give one hidden state per layer.
    """
    now = prepared.now
    with _own_attention(backbone.model) if prepared.is_packed else nullcontext(), as_running(now):
        last, lower = backbone.run(prepared.inputs, pooled)
    layers = {layer: states.flatten(0, 1) for layer, states in lower.items()}
    if now.above is not None:  # the states that enter a layer are numbered as it is
        low = [layer for layer in lower if layer <= now.above.layer]
        layers |= {layer: layers[layer].index_select(0, now.above.tokens) for layer in low}
    return Hidden(last.flatten(0, 1), layers)


def _from_trunk(pack: Pack, trunk: Trunk, above: Running, arrays: Arrays, ways: Ways) -> Running:
    """The pass from its trunk on, which runs without adapters."""
    texts = texts_of(trunk.lengths, trunk.buckets, arrays, ways.varlen)
    laid_out = arrays.put(ranges([trunk.starts[place] for place in trunk.place_of], pack.lengths))
    return Running(texts, (), above=Above(trunk.layers, laid_out, replace(above, laid_out=laid_out)))


def _narrow(backbone: Backbone, pack: Pack, read: Read, arrays: Arrays, ways: Ways) -> Narrow:
    texts = texts_of(read.counts, pack.buckets, arrays, ways.varlen)
    heads = int(backbone.model.config.num_attention_heads)
    return Narrow(arrays.put(read.tokens), Running(texts, read.active, thinning=read.thinning), heads)


def _padded_inputs(items: Sequence[EncodedText], length: int, pad_id: int, arrays: Arrays) -> dict[str, Tensor]:
    ids = np.full((len(items), length), pad_id)
    for row, item in enumerate(items):
        ids[row, : len(item.input_ids)] = item.input_ids
    sizes = np.array([len(item.input_ids) for item in items])
    return {"input_ids": arrays.put(ids), "attention_mask": arrays.put(np.arange(length) < sizes[:, None])}


def packed_numbers(backbone: Backbone, items: Sequence[EncodedText], arrays: Arrays) -> tuple[Tensor, Tensor]:
    """Token ids and positions, each [1, T], of encodings that stand one after the other."""
    model_type = str(backbone.model.config.model_type)
    embeddings: Any = backbone.model.base_model.get_submodule("embeddings")
    first = int(embeddings.padding_idx) + 1 if model_type in _FROM_PADDING else 0
    lengths = [len(item.input_ids) for item in items]
    ids = np.fromiter(chain.from_iterable(item.input_ids for item in items), np.int64, sum(lengths))
    positions = ranges([first] * len(items), lengths)
    return arrays.put(ids[None]), arrays.put(positions[None])


def model_inputs(backbone: Backbone, ids: Tensor, positions: Tensor) -> dict[str, Tensor]:
    """What the model of a packable backbone takes of these, by name."""
    inputs = {"input_ids": ids, "position_ids": positions}
    if str(backbone.model.config.model_type) not in _WITHOUT_SEGMENTS:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def _attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers asks for instead of its own attention; it gives a rate of dropout to layers that train."""
    now = cast("Running", running.get())
    said = attend(
        query,
        key,
        value,
        asking=now.texts,
        asked=now.texts,
        scaling=scaling,
        sliding_window=sliding_window,
        dropped=now.dropped(dropout),
    )
    return said, None


AttentionInterface.register(_ATTENTION, _attention)


@contextmanager
def _own_attention(model: PreTrainedModel) -> Iterator[None]:
    config = model.config
    before = config._attn_implementation  # noqa: SLF001 (set_attn_implementation would load kernels)
    config._attn_implementation = _ATTENTION  # noqa: SLF001
    try:
        yield
    finally:
        config._attn_implementation = before  # noqa: SLF001


@contextmanager
def as_running(now: Running) -> Iterator[None]:
    """Make a pass the one that runs."""
    token = running.set(now)
    try:
        yield
    finally:
        running.reset(token)
