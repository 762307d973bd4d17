"""One pass of many modules that train: their rows side by side through the frozen layers, and the loss of each.

The sum of the modules' losses is what goes back: the gradient of a module's weights is then that of its own loss, since
no weight of one acts on a row of another.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from petapter.backbone import Backbone
from petapter.joint.dropout import DropoutLayers
from petapter.joint.runs import Drawn, Slot
from petapter.runtime.arrays import Arrays, Here, Sent
from petapter.runtime.banks import Active, Bank, Form, Places, form_of
from petapter.runtime.layers import Layers, read_tokens
from petapter.runtime.packed import Acting, Prepared, Read, is_packable, prepare_pack, run_pack
from petapter.runtime.plan import Item, Span, pack_of, spans_of
from petapter.runtime.products import groups_of
from petapter.runtime.thinning import Thinning
from petapter.runtime.ways import ways_of
from petapter.task import EncodedText
from petapter.training.trunk import Trunk
from petapter_schemas.adapter_spec import AdapterSpec


@dataclass(frozen=True)
class Asked:
    """The rows of a module in a step."""

    slot: Slot
    drawn: Drawn


class LowerStates:
    """Hidden states of texts below the lowest adapted layer; calls that share them make those of each text once.

    They are of one backbone, and stay as long as this does.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._of_cut: dict[int, dict[tuple[int, ...], Tensor]] = {}

    def below(self, cut: int) -> dict[tuple[int, ...], Tensor]:
        """By token ids what enters layer `cut`, each [S, H]; who finds a text missing adds it."""
        return self._of_cut.setdefault(cut, {})


class Passes:
    """Runs modules that train through the model of a backbone, which is its own until `close`."""

    def __init__(self, backbone: Backbone, cut: int, lower: LowerStates | None = None) -> None:
        """Take the model over.

        Args:
            backbone: Whose model it is; the caller has claimed it.
            cut: The lowest layer that any of the modules adapts; those below run once per text, without dropout.
            lower: What they said of texts before; None knows of none.
        """
        self._backbone = backbone
        self._cut = cut
        self._trunk = Trunk(backbone, cut)
        self._states = (lower or LowerStates()).below(cut)
        layers = [backbone.model.base_model] if not cut else self._trunk.upper
        self._dropout = DropoutLayers(layers)
        self._places = Places(backbone.model)
        self._layers = Layers(backbone.model)
        self._banks: list[Bank] = []
        self._bank_of: dict[tuple[Form, float], int] = {}
        self._ways = ways_of(backbone.device, backbone.dtype, backbone.model)
        self._packable = is_packable(backbone)

    @property
    def model(self) -> PreTrainedModel:
        """Of the backbone."""
        return self._backbone.model

    @property
    def takes_many(self) -> bool:
        """Whether modules share a pass; where texts cannot stand in one row, each has its own."""
        return self._packable

    @property
    def cached_bytes(self) -> int:
        """Of the states of texts below the cut."""
        return sum(states.nbytes for states in self._states.values())

    def bank_of(self, spec: AdapterSpec, dropout: float) -> tuple[int, Bank] | None:
        """The bank of adapters of this form that drop as much of what they read, and its number; None without one."""
        if spec.kind == "none":
            return None
        form = (form_of(spec), dropout)
        if form not in self._bank_of:
            bank = Bank(spec, self._backbone.model)
            self._places.adapt(tuple(bank.places))
            self._bank_of[form] = len(self._banks)
            self._banks.append(bank)
        return self._bank_of[form], self._banks[self._bank_of[form]]

    def cache(self, texts: Sequence[EncodedText]) -> None:
        """Run texts through the layers below the cut, each once however often it occurs."""
        if not self._cut:
            return
        new = {text.input_ids: text for text in texts if text.input_ids not in self._states}
        for cached in self._trunk.cache(list(new.values())):
            self._states[cached.encoded.input_ids] = cached.states

    def split(self, asked: Sequence[Asked], tokens: int) -> Iterator[tuple[Asked, ...]]:
        """Modules in passes of at most so many tokens each, but at least one module, which is never parted.

        Where texts cannot stand in one row, each module has a pass of its own.
        """
        part: list[Asked] = []
        held = 0
        for each in sorted(
            asked, key=lambda each: (-1 if each.slot.bank is None else each.slot.bank, each.slot.number)
        ):
            if part and (held + each.drawn.tokens > tokens or not self._packable):
                yield tuple(part)
                part, held = [], 0
            part.append(each)
            held += each.drawn.tokens
        if part:
            yield tuple(part)

    def losses(self, asked: tuple[Asked, ...]) -> Tensor:
        """The loss of each module of a pass, [K]; its gradient may be asked once."""
        prepared, masks = self._lay_out(asked)
        with self._trunk.standing_in(self._lower(asked)):
            hidden = run_pack(self._backbone, prepared)
        counts = [len(each.drawn.rows) * len(each.drawn.texts[0].mask_positions) for each in asked]
        logits = _label_logits(asked, hidden.at(masks).split(counts))
        return torch.stack([each.slot.loss(said, each.drawn) for each, said in zip(asked, logits, strict=True)])

    def close(self) -> None:
        """Give the model back."""
        self._places.close()
        self._layers.close()
        self._dropout.close()
        self._states = {}

    def _lay_out(self, asked: tuple[Asked, ...]) -> tuple[Prepared, Tensor]:
        """A pass, and the rows of its last hidden states at all masks, [sum of n M]."""
        items = [
            Item(each.slot.bank, each.slot.number, each.drawn.pattern, len(text.input_ids))
            for each in asked
            for text in each.drawn.texts
        ]
        encoded = [text for each in asked for text in each.drawn.texts]
        pack = pack_of(items, range(len(items)), padded=not self._packable, parted=True)
        arrays: Arrays = Sent(self._backbone.device) if self._ways.sends else Here()
        rows = _Rows(asked)
        thinning = _thinning(asked, pack.lengths)
        tokens, counts = read_tokens(pack.starts, [text.mask_positions for text in encoded])
        read = None
        if self._layers.can_narrow:
            spans = tuple(spans_of(items, pack.order, counts))
            active = self._active(spans, rows, counts, arrays)
            read = Read(tuple(tokens), tuple(counts), active, _thinning(asked, counts))
        acting = Acting(self._active(pack.spans, rows, pack.lengths, arrays), read, thinning)
        prepared = prepare_pack(self._backbone, encoded, pack, acting, arrays, self._ways)
        at = [pack.starts[place] + mask for place, text in enumerate(encoded) for mask in text.mask_positions]
        masks = arrays.put(at if read is None else np.searchsorted(read.tokens, at))
        arrays.send()
        return prepared, masks

    def _active(
        self, spans: Sequence[Span], rows: "_Rows", lengths: Sequence[int], arrays: Arrays
    ) -> tuple[Active, ...]:
        """Banks with the weights that train in them."""
        return tuple(
            Active(
                self._banks[span.bank],
                rows.of(span),
                slice(span.start, span.stop) if self._packable else slice(0, sys.maxsize),
                groups_of(span.counts, arrays, grouped=self._ways.grouped),
                rows.thinned(span, lengths),
            )
            for span in spans
        )

    def _lower(self, asked: tuple[Asked, ...]) -> Tensor:
        """What enters the first layer above the cut, [1, T, H]; nothing without a cut."""
        if not self._cut:
            return torch.zeros(0)
        states = [self._states[text.input_ids] for each in asked for text in each.drawn.texts]
        return torch.cat(states).unsqueeze(0)


class _Rows:
    """The weights of the modules of a pass by bank, each stacked once."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = asked
        self._slots = {each.slot.number: each.slot for each in asked}
        self._stacked: dict[int, Tensor] = {}

    def of(self, span: Span) -> Tensor:
        """Of the modules of a span, [K, P]."""
        if span.bank not in self._stacked:
            slots = [self._slots[number] for number in span.modules]
            weights = torch.stack([slot.row for slot in slots if slot.row is not None])
            self._stacked[span.bank] = weights * torch.stack([slot.scales for slot in slots])
        return self._stacked[span.bank]

    def thinned(self, span: Span, lengths: Sequence[int]) -> "_Thinned | None":
        """Dropout of what their LoRAs read, at the rate that all of a bank have; None without."""
        rate = self._slots[span.modules[0]].options.adapter_choice.dropout
        if not rate:
            return None
        first = 0
        found: list[Asked] = []
        own: list[int] = []
        for each in self._asked:
            last = first + len(each.drawn.texts)
            if each.slot.number in span.modules:
                found.append(each)
                own += lengths[first:last]
            first = last
        return _Thinned(_thinning(found, own), rate)


@dataclass(frozen=True)
class _Thinned:
    """Dropout of the tokens of a span."""

    thinning: Thinning
    rate: float

    def __call__(self, states: Tensor) -> Tensor:
        """States [T', F] with a share of their numbers dropped."""
        return self.thinning.hidden(states, self.rate)


def _thinning(asked: Sequence[Asked], lengths: Sequence[int]) -> Thinning:
    generators = tuple(each.slot.dropout for each in asked)
    return Thinning(generators, tuple(len(each.drawn.texts) for each in asked), tuple(lengths))


def _label_logits(asked: Sequence[Asked], at_masks: Sequence[Tensor]) -> list[Tensor]:
    """Logits [n, L] of each module from what stands at its masks [n M, H]; frozen dense layers run once for all."""
    features: list[Tensor | None] = [None] * len(asked)
    same = [number for number, each in enumerate(asked) if not each.slot.trains_features]
    if same:
        read = asked[same[0]].slot.head.features(torch.cat([at_masks[number] for number in same]))
        for number, part in zip(same, read.split([len(at_masks[number]) for number in same]), strict=True):
            features[number] = part
    logits: list[Tensor] = []
    for each, own, states in zip(asked, features, at_masks, strict=True):
        head = each.slot.head
        found = head.features(states) if own is None else own
        shape = (len(each.drawn.rows), -1, found.shape[-1])
        logits.append(head.word_scores(found.reshape(shape)) * head.shape.words)
    return logits
