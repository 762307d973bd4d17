"""Runs packed encodings through a backbone's own model: one row of tokens in which each attends to its own text alone.

transformers lets a model take its attention from elsewhere by name, and gives it no mask then; all else of the model is
as it is. Architectures that compute attention themselves are run padded (`is_packable`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from petapter.backbone import Backbone
from petapter.runtime.plan import Pack
from petapter.task import EncodedText, pad_batch
from petapter_schemas.errors import BackboneError

if TYPE_CHECKING:
    from petapter.runtime.banks import Active

_ATTENTION = "petapter_packed"
_PACKABLE = frozenset({"albert", "bert", "camembert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"})
_FROM_PADDING = frozenset({"camembert", "roberta", "xlm-roberta"})
"""Positions of these are numbered from the padding token's id + 1."""
_WITHOUT_SEGMENTS = frozenset({"distilbert", "modernbert"})


@dataclass(frozen=True)
class _Bucket:
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
    """

    buckets: tuple[_Bucket, ...]
    active: "tuple[Active, ...]"


running: ContextVar[Running | None] = ContextVar("running", default=None)
"""The pass that runs; None outside one."""


def is_packable(backbone: Backbone) -> bool:
    """Whether the backbone's texts can stand in one row without padding."""
    return str(backbone.model.config.model_type) in _PACKABLE


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a pass, by token.

    Attributes:
        last: [T, H].
        layers: By number, those of layers that are to be pooled, [T, H].
    """

    last: Tensor
    layers: dict[int, Tensor]


def run_pack(
    backbone: Backbone, encoded: Sequence[EncodedText], pack: Pack, active: "tuple[Active, ...]", pooled: frozenset[int]
) -> Hidden:
    """Run a pass.

    Args:
        backbone: Its model may be called by nobody else meanwhile.
        encoded: All encodings that were planned.
        pack: Which of them run, and where they stand; of equal lengths, padded, where the backbone is not packable.
        active: Banks of adapters.
        pooled: Hidden states to return beside the last.

    Raises:
        BackboneError: The architecture does not give one hidden state per layer.
    """
    items = [encoded[number] for number in pack.order]
    deep = any(layer != backbone.layers for layer in pooled)
    if is_packable(backbone):
        with _own_attention(backbone.model), _as_running(Running(_buckets(pack, backbone.device), active)):
            output = backbone.model.base_model(**_packed_inputs(backbone, items), output_hidden_states=deep)
    else:
        batch = pad_batch(items, backbone.pad_id, at_least=pack.lengths[0])
        with _as_running(Running((), active)):
            output = backbone.model.base_model(
                input_ids=batch.input_ids.to(backbone.device),
                attention_mask=batch.attention_mask.to(backbone.device),
                output_hidden_states=deep,
            )
    if deep and len(output.hidden_states) != backbone.layers + 1:
        raise BackboneError(
            f"{backbone.repo!r} gives {len(output.hidden_states)} hidden states for {backbone.layers} layers, so that "
            "a layer cannot be told: pool the last one alone"
        )
    last = output.last_hidden_state.flatten(0, 1)
    layers = {
        layer: last if layer == backbone.layers else output.hidden_states[layer].flatten(0, 1) for layer in pooled
    }
    return Hidden(last, layers)


def _packed_inputs(backbone: Backbone, items: Sequence[EncodedText]) -> dict[str, Tensor]:
    model_type = str(backbone.model.config.model_type)
    embeddings: Any = backbone.model.base_model.get_submodule("embeddings")
    first = int(embeddings.padding_idx) + 1 if model_type in _FROM_PADDING else 0
    ids = torch.tensor([[token for item in items for token in item.input_ids]])  # [1, T]
    positions = torch.tensor([[first + position for item in items for position in range(len(item.input_ids))]])
    inputs = {"input_ids": ids, "position_ids": positions}
    if model_type not in _WITHOUT_SEGMENTS:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return {name: tensor.to(backbone.device) for name, tensor in inputs.items()}


def _buckets(pack: Pack, device: torch.device) -> tuple[_Bucket, ...]:
    found = []
    for places in pack.buckets:
        starts = torch.tensor([pack.starts[place] for place in places]).unsqueeze(1)  # [B, 1]
        lengths = torch.tensor([pack.lengths[place] for place in places]).unsqueeze(1)
        longest = max(pack.lengths[place] for place in places)
        within = torch.arange(longest).unsqueeze(0)  # [1, S]
        real = within < lengths  # [B, S]
        tokens = torch.where(real, starts + within, starts).flatten()
        whole = bool(real.all())
        found.append(
            _Bucket(
                tokens.to(device),
                (len(places), longest),
                None if whole else real.to(device),
                None if whole else real.flatten().nonzero().squeeze(1).to(device),
            )
        )
    return tuple(found)


def _attend(
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
    """Attention of packed query, key and value [1, heads, T, D] within each text; [1, T, heads, D].

    `sliding_window` is one more than how far a token sees to either side.
    """
    now = cast("Running", running.get())
    result = torch.empty_like(query[0].transpose(0, 1), memory_format=torch.contiguous_format)  # [T, heads, D]
    for bucket in now.buckets:
        queries, keys, values = (
            states[0].transpose(0, 1).index_select(0, bucket.tokens).unflatten(0, bucket.shape).transpose(1, 2)
            for states in (query, key, value)
        )  # [B, heads, S, D]
        seen = _seen(bucket, sliding_window, query.device)
        said = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scaling)
        flat = said.transpose(1, 2).flatten(0, 1)  # [B * S, heads, D]
        if bucket.kept is None:
            result.index_copy_(0, bucket.tokens, flat)
        else:
            result.index_copy_(0, bucket.tokens.index_select(0, bucket.kept), flat.index_select(0, bucket.kept))
    return result.unsqueeze(0), None


AttentionInterface.register(_ATTENTION, _attend)


def _seen(bucket: _Bucket, sliding_window: int | None, device: torch.device) -> Tensor | None:
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
def _as_running(now: Running) -> Iterator[None]:
    token = running.set(now)
    try:
        yield
    finally:
        running.reset(token)
