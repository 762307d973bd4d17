"""The weights of modules beside their backbone, and the passes through all of it."""

import logging
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor

from petapter.adapters import Claim, check_places
from petapter.backbone import Backbone
from petapter.head import restore_head
from petapter.runtime.arrays import Arrays, Here, Sent
from petapter.runtime.banks import Active, Bank, Form, Places, form_of
from petapter.runtime.graphs import graphs_of
from petapter.runtime.heads import Features, LoadedHead, features_of, load_head
from petapter.runtime.layers import Layers, read_tokens
from petapter.runtime.packed import Acting, Read, is_packable, prepare_pack, run_pack
from petapter.runtime.plan import Pack, Span, plan, spans_of
from petapter.runtime.products import groups_of
from petapter.runtime.scores import Ran, label_logits, plan_heads
from petapter.runtime.staging import Ready, Staging
from petapter.runtime.ways import ways_of
from petapter.runtime.work import Work
from petapter.trained import TrainedModule
from petapter_schemas.errors import BackboneError

_MOST_READ = 0.8
"""Share of the tokens up to which the last layer leaves the others out: to pick them costs a little too."""
_NO_MEMORY = (
    "the device is out of memory for a single text of {tokens} tokens: free some, lower module_bytes, or use the CPU"
)

logger = logging.getLogger(__name__)


class Runner:
    """Modules by number on the device of a backbone; owns its model until `close`.

    Attributes:
        ways: How passes run there.
        staging: How modules come to the device.
    """

    def __init__(self, backbone: Backbone, *, graphs: bool = False) -> None:
        """Claim the model.

        Args:
            backbone: Whose device everything runs on.
            graphs: Record small passes where the device can.

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
        self._like = torch.empty(0, dtype=backbone.dtype, device=backbone.device)
        self.ways = ways_of(backbone.device, backbone.dtype, backbone.model)
        self.staging = Staging(backbone.device)
        self._graphs = graphs_of(backbone, self._banks, self.ways) if graphs else None

    def ready(self, module: TrainedModule) -> Ready:
        """A module as it runs, on the device.

        Raises:
            BackboneError: Its head or adapter cannot be had on this backbone.
            TensorFileError: Its tensors do not fit.
        """
        self._claim.renew()
        head = self._load_head(module)
        bank = self.bank_of(module)
        row = None
        if bank is not None:
            row = self._banks[bank].row_of(module.adapter, module.adapter_tensors, self._like)
        return Ready(bank, row, head, self._own_features)

    def put(self, number: int, ready: Ready) -> int:
        """Let a module that is on the device, or on its way there, run by a number; how many bytes it takes."""
        if ready.bank is not None and ready.row is not None:
            self._banks[ready.bank].put(number, ready.row)
        self._heads[number] = ready.head
        return ready.nbytes

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

        A pass for which the device has no memory is halved.

        Args:
            work: The encodings.
            before_pass: Called with the modules of each pass before it runs; they must be there after.

        Raises:
            BackboneError: The device has no memory for a single text.
        """
        self._claim.renew()
        apart = not is_packable(self._backbone)
        logits = torch.full((len(work.items), work.labels), -torch.inf, device=self._backbone.device)
        most = self.ways.tokens
        packs = [(pack, most) for pack in reversed(plan(work.items, most, apart=apart))]
        while packs:
            pack, limit = packs.pop()
            before_pass({group.module for group in pack.groups})
            self.staging.arrive()
            try:
                self._run_pass(work, pack, logits)
            except torch.OutOfMemoryError as error:
                if len(pack.order) == 1:
                    raise BackboneError(_NO_MEMORY.format(tokens=pack.tokens)) from error
                if self._graphs is not None:
                    self._graphs.clear()
                torch.cuda.empty_cache()
                half = min(limit, pack.tokens) // 2
                logger.warning("the device is out of memory for %d tokens: going on with %d", pack.tokens, half)
                packs += [(part, half) for part in reversed(plan(work.items, half, apart=apart, only=pack.order))]
        return logits.cpu()  # nothing waited for the device until here

    def _run_pass(self, work: Work, pack: Pack, logits: Tensor) -> None:
        """Write the label logits of a pass; all of it is laid out on the host, sent, and only then begun."""
        arrays = Sent(self._backbone.device) if self.ways.sends else Here()
        pooled = frozenset(layer for group in pack.groups for layer in self._heads[group.module].pool_layers)
        begin = None if self._graphs is None else self._graphs.prepared(work.encoded, pack, pooled)
        read = None
        if begin is None:
            read = self._read(work, pack, arrays)
            active = self._active(pack.spans, arrays, whole=not is_packable(self._backbone))
            prepared = prepare_pack(self._backbone, work.encoded, pack, Acting(active, read), arrays, self.ways)
            begin = partial(run_pack, self._backbone, prepared, pooled)
        ran = Ran(pack, work.encoded, self._backbone.layers, read)
        heads = plan_heads(self._heads, ran, work.labels, arrays, grouped=self.ways.grouped_heads)
        items = arrays.put(pack.order)
        arrays.send()
        logits.index_copy_(0, items, label_logits(heads, begin()))

    def close(self) -> None:
        """Forget everything and give the model back."""
        self._places.close()
        self._layers.close()
        self._claim.release()
        if self._graphs is not None:
            self._graphs.clear()
        self._heads.clear()
        self._banks.clear()
        self._bank_of.clear()
        self._own_features = None

    def _load_head(self, module: TrainedModule) -> LoadedHead:
        common = None if self._own_features is None else (self._own_features.dense, self._own_features.norm)
        with torch.random.fork_rng([]):  # new layers draw numbers before they get their weights
            head = restore_head(
                self._backbone, module.verbalizer, module.head, len(module.task.patterns), module.head_tensors, common
            )
        shared = None
        if module.head.init == "mlm" and head.shape.reads_masks and not {"dense", "norm"} & set(module.head.parts):
            shared = self._own_features = self._own_features or features_of(head)
        return load_head(head, [pattern.masks for pattern in module.task.patterns], shared)

    def _active(self, spans: Iterable[Span], arrays: Arrays, *, whole: bool = False) -> tuple[Active, ...]:
        """Banks that act on spans or, of a single module, on whatever is read."""
        grouped = self.ways.grouped
        return tuple(
            self._banks[span.bank].activate(span, groups_of(span.counts, arrays, grouped=grouped), whole=whole)
            for span in spans
        )

    def _read(self, work: Work, pack: Pack, arrays: Arrays) -> Read | None:
        """What the last layer is to be narrowed to; None if it cannot be, or if little would be left out."""
        if not self._layers.can_narrow:
            return None
        positions = [
            self._heads[group.module].reads(work.encoded[pack.order[place]], self._backbone.layers)
            for group in pack.groups
            for place in range(group.first, group.last)
        ]
        tokens, counts = read_tokens(pack.starts, positions)
        if len(tokens) > _MOST_READ * pack.tokens:
            return None
        spans = spans_of(work.items, pack.order, counts)
        return Read(tuple(tokens), tuple(counts), self._active(spans, arrays))


def check_can_run(alias: str, module: TrainedModule) -> None:
    """Refuse what the format allows but the engine would compute wrongly.

    Raises:
        BackboneError: The module has weights that it cannot run.
    """
    if "int8" in {module.head.dtype, module.adapter.dtype}:
        raise BackboneError(f"module {alias!r} has int8 weights, which this engine cannot run: upgrade petapter")
