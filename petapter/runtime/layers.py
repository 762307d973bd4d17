"""A model's layers while a pass runs: where the trunk ends, and the last of them for the tokens that are read alone.

Below the end of a trunk, encodings that are the same stand once; the layer above it begins by laying the states of each
out for all that share them.

A head reads masks, and of texts that it pools at the last layer their own tokens. What the last layer would say of the
other tokens nobody asks; there, keys and values alone are computed of all of them.

The layers of ALBERT are one that runs many times, so that it does not know which time is the last: there the encoder
tells it. A trunk is not shared, for whatever adapts one layer adapts them all.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb

from petapter.runtime.attention import attend
from petapter.runtime.packed import Narrow, Running, as_running, running

_Forward = Callable[..., Any]
_Narrowed = Callable[..., Tensor]
Rotary = tuple[Tensor, Tensor]
"""Cosine and sine by token, each [1, T, D]."""
_ROTARY = "position_embeddings"
_BERT = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})


class Layers:
    """The layers of a model, which ask while a pass runs what they may leave out; until `close`."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Architectures whose layers are not known here compute all of everything."""
        self._layers: list[nn.Module] = []
        self._others: list[nn.Module] = []
        self._can_narrow = False
        model_type = str(model.config.model_type)
        base: Any = model.base_model
        if model_type in _BERT:
            self._patch(base.encoder.layer, _bert)
        elif model_type == "distilbert":
            self._patch(base.transformer.layer, _distilbert)
        elif model_type == "modernbert":
            looks_around = base.layers[-1].attn.sliding_window is not None
            self._patch(base.layers, None if looks_around else _modernbert)
        elif model_type == "albert":
            self._patch_repeated(base.encoder)

    @property
    def known(self) -> bool:
        """Whether a trunk can be shared below them."""
        return bool(self._layers)

    @property
    def can_narrow(self) -> bool:
        """Whether the last can leave tokens out."""
        return self._can_narrow

    def close(self) -> None:
        """Give the layers their own `forward` back."""
        for module in (*self._layers, *self._others):
            del module.forward
        self._layers.clear()
        self._others.clear()

    def _patch(self, layers: nn.ModuleList, narrowed: _Narrowed | None) -> None:
        self._can_narrow = narrowed is not None
        for number, layer in enumerate(layers):
            last = narrowed if number == len(layers) - 1 else None
            layer.forward = partial(_forward, number, layer, layer.forward, last)
            self._layers.append(layer)

    def _patch_repeated(self, encoder: Any) -> None:  # noqa: ANN401 (of ALBERT)
        self._can_narrow = True
        last = encoder.albert_layer_groups[-1].albert_layers[-1]
        last.forward = partial(_albert_layer, last, last.forward)
        encoder.forward = partial(_albert_encoder, encoder, encoder.forward)
        self._others += [last, encoder]


def _forward(
    number: int,
    layer: nn.Module,
    whole: _Forward,
    narrowed: _Narrowed | None,
    hidden: Tensor,
    *further: object,
    **named: object,
) -> object:
    now = running.get()
    if now is not None and now.above is not None and now.above.layer == number:
        hidden = hidden.index_select(1, now.above.tokens)
        now = now.above.running
        running.set(now)  # until the pass ends
    if now is not None and now.laid_out is not None and _ROTARY in named:
        named[_ROTARY] = tuple(each.index_select(1, now.laid_out) for each in cast("Rotary", named[_ROTARY]))
    if narrowed is None or now is None or now.narrow is None:
        return whole(hidden, *further, **named)
    return narrowed(layer, hidden, now, now.narrow, **named)


def _bert(layer: Any, hidden: Tensor, now: Running, narrow: Narrow, **_: object) -> Tensor:  # noqa: ANN401 (a layer of transformers)
    own = layer.attention.self
    chosen, context = _attended((own.query, own.key, own.value), hidden, now, narrow, own.dropout)
    with as_running(narrow.running):
        attended = layer.attention.output(context, chosen)
        result: Tensor = layer.output(layer.intermediate(attended), attended)
    return result


def _distilbert(layer: Any, hidden: Tensor, now: Running, narrow: Narrow, **_: object) -> Tensor:  # noqa: ANN401
    own = layer.attention
    chosen, context = _attended((own.q_lin, own.k_lin, own.v_lin), hidden, now, narrow, own.dropout)
    with as_running(narrow.running):
        attended = layer.sa_layer_norm(own.out_lin(context) + chosen)
        result: Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
    return result


def _modernbert(
    layer: Any,  # noqa: ANN401
    hidden: Tensor,
    now: Running,
    narrow: Narrow,
    *,
    position_embeddings: Rotary,
    **_: object,
) -> Tensor:
    """One map gives queries, keys and values, so that the queries of all tokens are made too."""
    own = layer.attn
    mapped = own.Wqkv(layer.attn_norm(hidden)).unflatten(-1, (3, narrow.heads, -1))
    queries, keys, values = (states.transpose(1, 2) for states in mapped.unbind(dim=-3))  # [1, heads, T, D]
    queries, keys = apply_rotary_pos_emb(queries, keys, *position_embeddings, unsqueeze_dim=1)
    queries = queries.index_select(2, narrow.read)
    chosen = hidden.index_select(1, narrow.read)
    dropped = narrow.running.dropped(own.attention_dropout, now)
    context = attend(queries, keys, values, asking=narrow.running.texts, asked=now.texts, dropped=dropped)
    running.set(narrow.running)  # until the pass ends: a norm follows the layers
    attended = chosen + own.out_drop(own.Wo(context.flatten(-2)))
    result: Tensor = attended + layer.mlp(layer.mlp_norm(attended))
    return result


def _albert_encoder(
    encoder: Any,  # noqa: ANN401
    whole: _Forward,
    hidden: Tensor,
    *further: object,
    **named: object,
) -> object:
    now = running.get()
    if now is None or now.narrow is None:
        return whole(hidden, *further, **named)
    count, groups = encoder.config.num_hidden_layers, encoder.albert_layer_groups
    turns = [groups[int(turn / (count / len(groups)))] for turn in range(count)]  # as transformers chooses them
    *lower, last = [layer for group in turns for layer in group.albert_layers]
    hidden = encoder.embedding_hidden_mapping_in(hidden)
    for layer in lower:
        hidden = layer(hidden, *further, **named)
    return BaseModelOutput(last_hidden_state=last(hidden, *further, narrowed_to=now.narrow, **named))


def _albert_layer(
    layer: Any,  # noqa: ANN401
    whole: _Forward,
    hidden: Tensor,
    *further: object,
    narrowed_to: Narrow | None = None,
    **named: object,
) -> object:
    now = running.get()
    if now is None or narrowed_to is None:
        return whole(hidden, *further, **named)
    own = layer.attention
    chosen, context = _attended((own.query, own.key, own.value), hidden, now, narrowed_to, own.attention_dropout)
    with as_running(narrowed_to.running):
        attended = own.LayerNorm(chosen + own.output_dropout(own.dense(context)))
        return layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)


def _attended(
    projections: Sequence[nn.Module], hidden: Tensor, now: Running, narrow: Narrow, dropout: nn.Dropout
) -> tuple[Tensor, Tensor]:
    """The read tokens [1, R, H] and what they find by looking at all tokens of their texts [1, R, H]."""
    query, key, value = projections
    keys, values = key(hidden), value(hidden)
    with as_running(narrow.running):
        chosen = hidden.index_select(1, narrow.read)
        queries = query(chosen)
    heads = narrow.heads
    states = [states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (queries, keys, values)]
    dropped = narrow.running.dropped(dropout.p, now)
    context = attend(*states, asking=narrow.running.texts, asked=now.texts, dropped=dropped)
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
