"""The weights of modules beside their backbone, and the passes through all of it."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from petapter.adapters import Claim, check_places
from petapter.backbone import Backbone
from petapter.head import restore_head
from petapter.runtime.banks import Active, Bank, Form, Places, form_of
from petapter.runtime.heads import Features, LoadedHead, features_of, label_logits, load_head
from petapter.runtime.layers import Layers, read_tokens
from petapter.runtime.packed import Read, is_packable, run_pack
from petapter.runtime.plan import Pack, Span, plan, spans_of
from petapter.runtime.work import Work
from petapter.trained import TrainedModule

TOKENS_PER_PASS = 4096
"""Tokens per pass through the backbone: enough to fill two cores, small enough for a laptop's memory."""

_MOST_READ = 0.8
"""Share of the tokens up to which the last layer leaves the others out: to pick them costs a little too."""


class Runner:
    """Modules by number on the device of a backbone; owns its model until `close`."""

    def __init__(self, backbone: Backbone) -> None:
        """Claim the model.

        Raises:
            BackboneError: Another has it.
        """
        self._backbone = backbone
        self._claim = Claim(backbone.model, self)
        self._places = Places(backbone.model)
        self._layers = Layers(backbone.model)
        self._banks: list[Bank] = []
        self._bank_of: dict[Form, int] = {}
        self._heads: dict[int, LoadedHead] = {}
        self._own_features: Features | None = None

    def bring(self, number: int, module: TrainedModule) -> int:
        """Put a module's weights on the device; how many bytes they take there.

        Raises:
            BackboneError: Its head or adapter cannot be had on this backbone.
            TensorFileError: Its tensors do not fit.
        """
        self._claim.renew()
        head = self._load_head(module)
        bank = self.bank_of(module)
        size = 0
        if bank is not None:
            size = self._banks[bank].add(number, module.adapter, module.adapter_tensors, self._backbone.device)
        self._heads[number] = head
        return size + head.nbytes(self._own_features)

    def forget(self, number: int) -> None:
        """Take a module's weights from the device."""
        del self._heads[number]
        for bank in self._banks:
            bank.remove(number)

    def bank_of(self, module: TrainedModule) -> int | None:
        """The number of the bank of a module's adapter, made if there is none of its form; None without an adapter.

        Raises:
            BackboneError: The adapter has no place in this backbone.
        """
        spec = module.adapter
        if spec.kind == "none":
            return None
        form = form_of(spec)
        if form not in self._bank_of:
            check_places(spec, self._backbone.model)
            bank = Bank(spec, self._backbone.model)
            self._places.adapt(tuple(bank.places))
            self._bank_of[form] = len(self._banks)
            self._banks.append(bank)
        return self._bank_of[form]

    def lowest_of(self, bank: int | None) -> int:
        """The lowest layer that adapters of a bank change, the last without one; 0 where layers cannot be shared."""
        if not self._layers.known:
            return 0
        last = self._backbone.layers - 1
        return last if bank is None else min(self._banks[bank].lowest, last)

    def run(self, work: Work, before_pass: Callable[[Iterable[int]], None]) -> Tensor:
        """Label logits of all encodings, float32 [N, L] on the CPU; minus infinity beyond a module's labels.

        Args:
            work: The encodings.
            before_pass: Called with the modules of each pass before it runs; they must be there after.
        """
        self._claim.renew()
        logits = torch.full((len(work.items), work.labels), -torch.inf)
        apart = not is_packable(self._backbone)
        for pack in plan(work.items, TOKENS_PER_PASS, apart=apart):
            before_pass({group.module for group in pack.groups})
            heads = self._heads
            pooled = frozenset(layer for group in pack.groups for layer in heads[group.module].pool_layers)
            active = self._active(pack.spans, whole=apart)
            hidden = run_pack(self._backbone, work.encoded, pack, active, pooled, self._read(work, pack, heads))
            logits[list(pack.order)] = label_logits(heads, pack, work.encoded, hidden, work.labels).float().cpu()
        return logits

    def close(self) -> None:
        """Forget everything and give the model back."""
        self._places.close()
        self._layers.close()
        self._claim.release()
        self._heads.clear()
        self._banks.clear()
        self._bank_of.clear()
        self._own_features = None

    def _load_head(self, module: TrainedModule) -> LoadedHead:
        with torch.random.fork_rng([]):  # new layers draw numbers before they get their weights
            head = restore_head(
                self._backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors
            )
        shared = None
        if module.head.init == "mlm" and head.shape.reads_masks and not {"dense", "norm"} & set(module.head.parts):
            shared = self._own_features = self._own_features or features_of(head)
        return load_head(head, [pattern.masks for pattern in module.task.patterns], shared)

    def _active(self, spans: Iterable[Span], *, whole: bool = False) -> tuple[Active, ...]:
        return tuple(self._banks[span.bank].activate(span, self._backbone.device, whole=whole) for span in spans)

    def _read(self, work: Work, pack: Pack, heads: Mapping[int, LoadedHead]) -> Read | None:
        """What the last layer is to be narrowed to; None if it cannot be, or if little would be left out."""
        if not self._layers.known:
            return None
        positions = [
            heads[group.module].reads(work.encoded[pack.order[place]], self._backbone.layers)
            for group in pack.groups
            for place in range(group.first, group.last)
        ]
        tokens, counts = read_tokens(pack.starts, positions)
        if len(tokens) > _MOST_READ * pack.tokens:
            return None
        spans = spans_of(work.items, pack.order, counts)
        return Read(tuple(tokens), tuple(counts), self._active(spans))
