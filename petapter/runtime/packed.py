"""Runs packed encodings through a backbone's own model: one row of tokens in which each attends to its own text alone.

transformers lets a model take its attention from elsewhere by name, and gives it no mask then; all else of the model is
as it is. Architectures that compute attention themselves are run padded (`is_packable`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from petapter.backbone import Backbone
from petapter.runtime.plan import Pack, Trunk, sum_before
from petapter.task import EncodedText, pad_batch

if TYPE_CHECKING:
    from petapter.runtime.banks import Active

_ATTENTION = "petapter_packed"
_PACKABLE = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"})
_FROM_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})
"""Positions of these are numbered from the padding token's id + 1."""
_WITHOUT_SEGMENTS = frozenset({"distilbert", "modernbert"})


@dataclass(frozen=True)
class Bucket:
    """Texts of like length that attend in one call.

    Attributes:
        tokens: Where their tokens stand in the pack, [B * S]; of a shorter text its first token fills up.
        shape: B, S.
        real: Which of them are meant, [B, S]; None if all are.
        kept: Where these stand in `tokens`.
    """

    tokens: Tensor
    shape: tuple[int, int]
    real: Tensor | None
    kept: Tensor | None


@dataclass(frozen=True)
class Running:
    """What the layers of a model need to know of the pass that runs.

    Attributes:
        buckets: For attention; none where the pass is padded.
        active: Banks of adapters that act in it.
        narrow: What the last layer may leave out; None if all of it is wanted.
        above: How the pass goes on above its trunk; None without one.
        laid_out: Above a trunk: by token, where it stood there, [T]; what the model gives layers by token is the
            trunk's.
    """

    buckets: tuple[Bucket, ...]
    active: "tuple[Active, ...]"
    narrow: "Narrow | None" = None
    above: "Above | None" = None
    laid_out: Tensor | None = None


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
        running: The pass as it is for these tokens alone; its buckets hold the same places as those of all tokens.
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
    """

    tokens: tuple[int, ...]
    counts: tuple[int, ...]
    active: "tuple[Active, ...]"


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a pass.

    Attributes:
        last: Of the last layer, [T, H], or [R, H] if it was narrowed.
        layers: By number, those of lower layers that are to be pooled, [T, H].
        row_of: By token of the pack, its row in `last`, [T]; None if there all tokens are.
    """

    last: Tensor
    layers: dict[int, Tensor]
    row_of: Tensor | None

    def at(self, tokens: Sequence[int], layer: int | None = None) -> Tensor:
        """Hidden states of tokens, of the last layer or of a lower one, float32 [N, H]."""
        chosen = torch.tensor(tokens, dtype=torch.int64)
        if layer in self.layers:
            return self.layers[layer].index_select(0, chosen.to(self.last.device)).float()
        rows = chosen if self.row_of is None else self.row_of.index_select(0, chosen)
        return self.last.index_select(0, rows.to(self.last.device)).float()


def run_pack(
    backbone: Backbone,
    encoded: Sequence[EncodedText],
    pack: Pack,
    active: "tuple[Active, ...]" = (),
    pooled: frozenset[int] = frozenset(),
    read: Read | None = None,
) -> Hidden:
    """Run a pass.

    Args:
        backbone: Its model may be called by nobody else meanwhile.
        encoded: All encodings that were planned.
        pack: Which of them run, and where they stand; of equal lengths, padded, where the backbone is not packable.
        active: Banks of adapters.
        pooled: Hidden states to return beside the last.
        read: What the last layer is to be narrowed to, where `Layers` can.

    Raises:
        BackboneError: The architecture does not give one hidden state per layer.
    """
    items = [encoded[number] for number in pack.order]
    if is_packable(backbone):
        buckets = _buckets(pack.starts, pack.lengths, pack.buckets, backbone.device)
        now = Running(buckets, active, None if read is None else _narrow(backbone, pack, read))
        if pack.trunk is not None:
            items = [encoded[number] for number in pack.trunk.order]
            now = _from_trunk(pack, pack.trunk, now, backbone.device)
        with _own_attention(backbone.model), as_running(now):
            last, lower = backbone.run(_packed_inputs(backbone, items), pooled)
    else:
        batch = pad_batch(items, backbone.pad_id, at_least=pack.lengths[0])
        now = Running((), active)
        with as_running(now):
            last, lower = backbone.run({"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}, pooled)
    row_of = None
    if read is not None:
        row_of = torch.full((pack.tokens,), -1)
        row_of[list(read.tokens)] = torch.arange(len(read.tokens))
    layers = {layer: states.flatten(0, 1) for layer, states in lower.items()}
    if now.above is not None:  # the states that enter a layer are numbered as it is
        low = [layer for layer in lower if layer <= now.above.layer]
        layers |= {layer: layers[layer].index_select(0, now.above.tokens) for layer in low}
    return Hidden(last.flatten(0, 1), layers, row_of)


def _from_trunk(pack: Pack, trunk: Trunk, above: Running, device: torch.device) -> Running:
    """The pass from its trunk on, which runs without adapters."""
    tokens = [
        token
        for place, length in zip(trunk.place_of, pack.lengths, strict=True)
        for token in range(trunk.starts[place], trunk.starts[place] + length)
    ]
    buckets = _buckets(trunk.starts, trunk.lengths, trunk.buckets, device)
    laid_out = torch.tensor(tokens).to(device)
    return Running(buckets, (), above=Above(trunk.layers, laid_out, replace(above, laid_out=laid_out)))


def _narrow(backbone: Backbone, pack: Pack, read: Read) -> Narrow:
    starts = tuple(sum_before(read.counts))
    buckets = _buckets(starts, read.counts, pack.buckets, backbone.device)
    tokens = torch.tensor(read.tokens).to(backbone.device)
    return Narrow(tokens, Running(buckets, read.active), int(backbone.model.config.num_attention_heads))


def _packed_inputs(backbone: Backbone, items: Sequence[EncodedText]) -> dict[str, Tensor]:
    model_type = str(backbone.model.config.model_type)
    embeddings: Any = backbone.model.base_model.get_submodule("embeddings")
    first = int(embeddings.padding_idx) + 1 if model_type in _FROM_PADDING else 0
    ids = torch.tensor([[token for item in items for token in item.input_ids]])  # [1, T]
    positions = torch.tensor([[first + position for item in items for position in range(len(item.input_ids))]])
    inputs = {"input_ids": ids, "position_ids": positions}
    if model_type not in _WITHOUT_SEGMENTS:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def _buckets(
    starts: Sequence[int], lengths: Sequence[int], places_of: Sequence[Sequence[int]], device: torch.device
) -> tuple[Bucket, ...]:
    found = []
    for places in places_of:
        start = torch.tensor([starts[place] for place in places]).unsqueeze(1)  # [B, 1]
        length = torch.tensor([lengths[place] for place in places]).unsqueeze(1)
        longest = max(lengths[place] for place in places)
        within = torch.arange(longest).unsqueeze(0)  # [1, S]
        real = within < length  # [B, S]
        tokens = torch.where(real, start + within, start).flatten().to(device)
        if min(lengths[place] for place in places) == longest:
            found.append(Bucket(tokens, (len(places), longest), None, None))
        else:
            kept = real.flatten().nonzero().squeeze(1).to(device)
            found.append(Bucket(tokens, (len(places), longest), real.to(device), kept))
    return tuple(found)


def attend(  # noqa: PLR0913
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    asking: Sequence[Bucket],
    asked: Sequence[Bucket],
    scaling: float | None = None,
    sliding_window: int | None = None,
) -> Tensor:
    """Attention within each text.

    Args:
        query: [1, heads, R, D].
        key: [1, heads, T, D].
        value: Likewise.
        asking: Which queries belong to which text.
        asked: Keys and values, the same texts in the same buckets.
        scaling: Of the products; None for 1 / sqrt(D).
        sliding_window: One more than how far a token sees to either side, where queries are all tokens.

    Returns:
        [1, R, heads, D].
    """
    result = torch.empty_like(query[0].transpose(0, 1), memory_format=torch.contiguous_format)  # [R, heads, D]
    for some, all_ in zip(asking, asked, strict=True):
        said = nn.functional.scaled_dot_product_attention(
            _taken(query, some),
            _taken(key, all_),
            _taken(value, all_),
            attn_mask=_seen(all_, sliding_window, query.device),
            scale=scaling,
        )
        flat = said.transpose(1, 2).flatten(0, 1)  # [B * S, heads, D]
        if some.kept is None:
            result.index_copy_(0, some.tokens, flat)
        else:
            result.index_copy_(0, some.tokens.index_select(0, some.kept), flat.index_select(0, some.kept))
    return result.unsqueeze(0)


def _taken(states: Tensor, bucket: Bucket) -> Tensor:
    """States [1, heads, T, D] of the texts of a bucket, [B, heads, S, D]."""
    taken: Tensor = states[0].transpose(0, 1).index_select(0, bucket.tokens).unflatten(0, bucket.shape)
    return taken.transpose(1, 2)


def _attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers asks for instead of its own attention."""
    buckets = cast("Running", running.get()).buckets
    said = attend(query, key, value, asking=buckets, asked=buckets, scaling=scaling, sliding_window=sliding_window)
    return said, None


AttentionInterface.register(_ATTENTION, _attention)


def _seen(bucket: Bucket, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens each may look at, bool [B or 1, 1, S or 1, S]; None for all."""
    real = None if bucket.real is None else bucket.real[:, None, None, :]
    longest = bucket.shape[1]
    if sliding_window is None or sliding_window >= longest:
        return real
    place = torch.arange(longest, device=device)
    near = ((place[:, None] - place[None, :]).abs() < sliding_window)[None, None]
    return near if real is None else near & real | torch.eye(longest, dtype=torch.bool, device=device)


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
