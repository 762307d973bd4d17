"""The last layer where a head reads, and nowhere else: keys and values of all tokens, the rest of the read ones.

A head reads masks, and of texts that it pools at the last layer their own tokens. What the layer would say of the other
tokens nobody asks; in the layers below, every token is read by the others.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from petapter.runtime.packed import Narrow, Running, as_running, attend, running

_Forward = Callable[..., Any]
_BERT = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})


class LastLayer:
    """A model's last layer, which asks while a pass runs whether all tokens are to be computed; until `close`."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Architectures whose last layer is not known here compute all of it."""
        self._layer: nn.Module | None = None
        model_type = str(model.config.model_type)
        base: Any = model.base_model
        if model_type in _BERT:
            self._patch(base.encoder.layer[-1], _bert)
        elif model_type == "distilbert":
            self._patch(base.transformer.layer[-1], _distilbert)

    @property
    def narrows(self) -> bool:
        """Whether it can leave tokens out."""
        return self._layer is not None

    def close(self) -> None:
        """Give the layer its own `forward` back."""
        if self._layer is not None:
            del self._layer.forward
            self._layer = None

    def _patch(self, layer: nn.Module, narrow: Callable[[Any, Tensor, Running, Narrow], Tensor]) -> None:
        self._layer = layer
        layer.forward = partial(_forward, layer, layer.forward, narrow)


def _forward(
    layer: nn.Module,
    whole: _Forward,
    narrow: Callable[[Any, Tensor, Running, Narrow], Tensor],
    hidden: Tensor,
    *further: object,
    **named: object,
) -> object:
    now = running.get()
    if now is None or now.narrow is None:
        return whole(hidden, *further, **named)
    return narrow(layer, hidden, now, now.narrow)


def _bert(layer: Any, hidden: Tensor, now: Running, narrow: Narrow) -> Tensor:  # noqa: ANN401 (a layer of transformers)
    own = layer.attention.self
    chosen, context = _attended((own.query, own.key, own.value), hidden, now, narrow)
    with as_running(narrow.running):
        attended = layer.attention.output(context, chosen)
        result: Tensor = layer.output(layer.intermediate(attended), attended)
    return result


def _distilbert(layer: Any, hidden: Tensor, now: Running, narrow: Narrow) -> Tensor:  # noqa: ANN401
    own = layer.attention
    chosen, context = _attended((own.q_lin, own.k_lin, own.v_lin), hidden, now, narrow)
    with as_running(narrow.running):
        attended = layer.sa_layer_norm(own.out_lin(context) + chosen)
        result: Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return result


def _attended(projections: Sequence[nn.Module], hidden: Tensor, now: Running, narrow: Narrow) -> tuple[Tensor, Tensor]:
    """The read tokens [1, R, H] and what they find by looking at all tokens of their texts [1, R, H]."""
    query, key, value = projections
    keys, values = key(hidden), value(hidden)
    with as_running(narrow.running):
        chosen = hidden.index_select(1, narrow.read)
        queries = query(chosen)
    heads = narrow.heads
    states = [states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (queries, keys, values)]
    context = attend(*states, asking=narrow.running.buckets, asked=now.buckets)
    return chosen, context.flatten(-2)


def read_tokens(starts: Sequence[int], positions: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Tokens that are read, in their order, and how many of each place.

    Args:
        starts: First token by place.
        positions: By place, which of its tokens are read; where none are, its first is, since no place may be empty.
    """
    chosen = [sorted(set(own)) or [0] for own in positions]
    return [start + position for start, own in zip(starts, chosen, strict=True) for position in own], [
        len(own) for own in chosen
    ]
