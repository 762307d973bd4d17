"""The lower layers of a frozen backbone, run once per text: training of the upper layers starts from what they said.

While a batch runs, one stand-in takes the place of the layers below the cut and returns their cached states; all else
of the model (masks, positions, upper layers, adapters) runs as it is. With dropout off below the cut this is exact.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from petapter.backbone import Backbone, Reading, read_hidden
from petapter.task import Batch, EncodedText, pad_batch

_LAYERS = {
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
    "camembert": "encoder.layer",
    "electra": "encoder.layer",
    "distilbert": "transformer.layer",
    "modernbert": "layers",
}
"""Where the layers sit inside `base_model`, by transformers' `model_type`. Others run whole: ALBERT has one layer that
it runs again, DeBERTa may have a convolution after its first layer, for which it counts layers."""

_ROWS_PER_BATCH = 32


def can_cut(backbone: Backbone) -> bool:
    """Whether the lower layers can be left out."""
    return backbone.model.config.model_type in _LAYERS


def upper_layers(backbone: Backbone) -> tuple[int, ...]:
    """The layers above the cut, numbered from 0: the upper half; all where the lower ones cannot be left out."""
    if not can_cut(backbone):
        return tuple(range(backbone.layers))
    return tuple(range(backbone.layers // 2, backbone.layers))


@dataclass(frozen=True)
class CachedText:
    """A text in a pattern, and the hidden states that enter the first upper layer, [S, H]."""

    encoded: EncodedText
    states: Tensor


class _StandIn(nn.Module):
    """Takes the place of the lower layers: gives the cached states, in the form a layer answers in.

    ModernBERT asks each layer for its `attention_type` before it runs it.
    """

    def __init__(self, attention_type: object) -> None:
        super().__init__()
        self.attention_type = attention_type
        self.states = torch.zeros(0)
        self.answers_in_tuples = False

    def forward(self, *_: object, **__: object) -> object:
        return (self.states,) if self.answers_in_tuples else self.states


class Trunk:
    """Runs the upper layers of a backbone on cached states; the model is whole between its calls.

    Example:
        >>> trunk = Trunk(backbone)
        >>> cached = trunk.cache(encoded)
        >>> reading = trunk.read(cached[:16], pool_layers=(4, 6))
    """

    def __init__(self, backbone: Backbone, cut: int | None = None) -> None:
        """Cut below a layer.

        Args:
            backbone: Whose layers are run.
            cut: The first layer that is not cached, by number; 0 where layers cannot be left out. None for the first of
                `upper_layers`.
        """
        self._backbone = backbone
        self._cut = upper_layers(backbone)[0] if cut is None else cut
        path = _LAYERS.get(backbone.model.config.model_type, "")
        parent, _, self._name = path.rpartition(".")
        self._parent = backbone.model.base_model.get_submodule(parent)
        lowest = self._layers[0] if self._cut else None
        self._stand_in = _StandIn(getattr(lowest, "attention_type", None))

    @property
    def upper(self) -> list[nn.Module]:
        """The layers from the cut on."""
        return list(self._layers[self._cut :])

    @torch.no_grad()
    def cache(self, encoded: Sequence[EncodedText]) -> list[CachedText]:
        """Run texts of one pattern through the lower layers, without dropout."""
        if not self._cut:
            return [CachedText(item, torch.zeros(0)) for item in encoded]
        was_training = self._backbone.model.training
        self._backbone.model.eval()
        cached: dict[int, CachedText] = {}
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i].input_ids))
        for start in range(0, len(order), _ROWS_PER_BATCH):
            chosen = order[start : start + _ROWS_PER_BATCH]
            states = self._lower_states(pad_batch([encoded[i] for i in chosen], self._backbone.pad_id))
            for row, i in enumerate(chosen):
                cached[i] = CachedText(encoded[i], states[row, : len(encoded[i].input_ids)].clone())
        self._backbone.model.train(was_training)
        return [cached[i] for i in range(len(encoded))]

    def read(self, texts: Sequence[CachedText], pool_layers: Sequence[int]) -> Reading:
        """As `Backbone.read`, from the cut on; no layer below the cut can be pooled."""
        batch = pad_batch([text.encoded for text in texts], self._backbone.pad_id)
        if not self._cut:
            return self._backbone.read(batch, pool_layers)
        longest = batch.input_ids.shape[1]
        padded = [nn.functional.pad(text.states, (0, 0, 0, longest - len(text.states))) for text in texts]
        with (
            self.standing_in(torch.stack(padded)) as upper,
            _recorded([upper[layer - self._cut] for layer in pool_layers]) as outputs,
        ):
            last = self._run(batch)
        top = self._backbone.layers
        pooled = [last if layer == top else outputs[i] for i, layer in enumerate(pool_layers)]
        return read_hidden(batch, last, pooled)

    @contextmanager
    def standing_in(self, states: Tensor) -> Iterator[nn.ModuleList]:
        """Let the model begin at the cut, with states [B, S, H] of whatever it is asked; nothing changes without a cut.

        Yields:
            What stands in for the layers below it, and the layers above.
        """
        if not self._cut:
            yield nn.ModuleList()
            return
        layers = self._layers
        self._stand_in.states = states
        upper = nn.ModuleList([self._stand_in, *layers[self._cut :]])
        setattr(self._parent, self._name, upper)
        try:
            yield upper
        finally:
            setattr(self._parent, self._name, layers)
            self._stand_in.states = torch.zeros(0)

    @property
    def _layers(self) -> nn.ModuleList:
        return cast("nn.ModuleList", getattr(self._parent, self._name))

    def _lower_states(self, batch: Batch) -> Tensor:
        """Hidden states below the cut, [B, S, H]."""
        layers = self._layers
        setattr(self._parent, self._name, layers[: self._cut])
        handle = layers[self._cut - 1].register_forward_hook(self._note_form)
        try:
            with _recorded([layers[self._cut - 1]]) as outputs:
                self._run(batch)
        finally:
            handle.remove()
            setattr(self._parent, self._name, layers)
        return outputs[0]

    def _note_form(self, _module: nn.Module, _args: object, output: object) -> None:
        self._stand_in.answers_in_tuples = isinstance(output, tuple)

    def _run(self, batch: Batch) -> Tensor:
        device = self._backbone.device
        output = self._backbone.model.base_model(
            input_ids=batch.input_ids.to(device), attention_mask=batch.attention_mask.to(device)
        )
        return cast("Tensor", output.last_hidden_state)


@contextmanager
def _recorded(layers: Sequence[nn.Module]) -> Iterator[dict[int, Tensor]]:
    """What each layer answers while the context lasts, by its place in the sequence."""
    outputs: dict[int, Tensor] = {}

    def keep(index: int, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs[index] = output[0] if isinstance(output, tuple) else output

    handles = [
        layer.register_forward_hook(lambda _module, _args, output, index=index: keep(index, output))
        for index, layer in enumerate(layers)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
