"""Adapters of one form side by side: one row of numbers per module, and what it adds to each place in the model.

Modules whose adapters have the same kind, rank, targets and layers share a bank. In a pass, the rows of the modules
that occur are laid under each other once; each place then takes its own columns and acts on all tokens of the bank at
once, by grouped matrix products or by vectors looked up by token. What is loaded beside them costs nothing.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from petapter.adapters import adapted_modules, layer_number, scales_input, tensor_shapes
from petapter.runtime.packed import running
from petapter.runtime.plan import Span
from petapter.runtime.products import Groups, grouped_product, is_alone
from petapter_schemas.adapter_files import PEFT_PREFIX
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.errors import TensorFileError

Form = tuple[object, ...]
"""What modules of one bank have in common."""

_LINE = 8
"""What is multiplied at once begins at a multiple of so many numbers, as grouped products want it."""
_PROJECTIONS = frozenset({"query", "key", "value", "q_lin", "k_lin", "v_lin", "query_proj", "key_proj", "value_proj"})
"""Parts of one attention, which as a rule read the same hidden states: their LoRA goes down in one product."""


def form_of(spec: AdapterSpec) -> Form:
    """What an adapter shares with those that can stand in the same bank."""
    return (spec.kind, spec.rank, spec.reduction, spec.placement, spec.targets, spec.feedforward, spec.layers)


@dataclass(frozen=True)
class _Column:
    """One tensor of a place: where it stands in a row, and its shape there."""

    start: int
    shape: tuple[int, ...]

    @property
    def part(self) -> slice:
        """Where it stands."""
        return slice(self.start, self.start + math.prod(self.shape))


@dataclass(frozen=True)
class _Place:
    """A module of the model that the bank adapts.

    Attributes:
        kind: Of the adapter.
        columns: Its tensors; of LoRA the first is what all projections of an attention have there, one below the other.
        part: Of LoRA, which numbers of the product with that are its own.
        scales_input: Whether it acts on what the module reads.
    """

    kind: str
    columns: tuple[_Column, ...]
    part: slice
    scales_input: bool


@dataclass(frozen=True)
class Base:
    """A module as it is without banks."""

    module: nn.Module
    forward: Callable[[Tensor], Tensor]

    @property
    def is_norm(self) -> bool:
        """Whether it is a LayerNorm, which goes again over what it read with the adapter's part in it."""
        return isinstance(self.module, nn.LayerNorm)

    def __call__(self, hidden: Tensor) -> Tensor:
        """What it gives."""
        return self.forward(hidden)


class Bank:
    """The adapters of modules of one form."""

    def __init__(self, spec: AdapterSpec, model: PreTrainedModel) -> None:
        """An empty bank for adapters of the form of `spec`; places are looked up in the bare model."""
        self._kind = spec.kind
        self._columns: dict[str, _Column] = {}
        self.places: dict[str, _Place] = {}
        self._rows: dict[int, Tensor] = {}
        self._width = 0
        self._laid: tuple[tuple[int, ...], Tensor] | None = None
        found = {name: tensor_shapes(spec, name, module, model) for name, module in adapted_modules(spec, model)}
        for names in _reading_alike(found) if spec.kind == "lora" else [[name] for name in found]:
            first = [(f"{name}.{suffix}", shape) for name in names for suffix, shape in [*found[name].items()][:1]]
            shared, part_of = self._under_each_other(first)
            for name, part in zip(names, part_of, strict=True):
                rest = [self._column(f"{name}.{suffix}", shape) for suffix, shape in [*found[name].items()][1:]]
                self.places[name] = _Place(spec.kind, (shared, *rest), part, scales_input(spec, name))

    @property
    def lowest(self) -> int:
        """The lowest layer that it adapts, from 0; 0 also where a place is in none."""
        return min((layer_number(path) or 0 for path in self.places), default=0)

    def row_of(self, spec: AdapterSpec, tensors: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """The row of an adapter, [P].

        Args:
            spec: What it is.
            tensors: Its tensors.
            like: A weight of the backbone, of whose device and precision they are to be.

        Raises:
            TensorFileError: Names or shapes are not those of the bank's form.
        """
        # laid out in place: rows stay for long, and between them the C library leaves holes where copies of them were
        row = torch.zeros(self._width, dtype=like.dtype)
        for key, part in self._given(tensors).items():
            column = self._columns[key]
            with torch.no_grad():
                torch.mul(part.float(), _scale(spec, key), out=row[column.part].view(column.shape))
        return row.to(like.device)

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Tensors under peft's names one after the other as they are, float32 [P] on the CPU.

        Raises:
            TensorFileError: As `row_of`.
        """
        row = torch.zeros(self._width)
        for key, tensor in self._given(tensors).items():
            row[self._columns[key].part] = tensor.float().flatten()
        return row

    def scales(self, spec: AdapterSpec) -> Tensor:
        """What the numbers of such a row are multiplied by before it runs, float32 [P] on the CPU."""
        scales = torch.ones(self._width)
        for key, column in self._columns.items():
            scales[column.part] = _scale(spec, key)
        return scales

    def tensors(self, flat: Tensor) -> dict[str, Tensor]:
        """The tensors that `flat` laid one after the other, copies under peft's names."""
        return {
            f"{PEFT_PREFIX}{key}": flat[column.part].unflatten(0, column.shape).clone()
            for key, column in self._columns.items()
        }

    def put(self, module: int, row: Tensor) -> None:
        """Take a module in by its number and row; the cost does not depend on how many there are."""
        self._rows[module] = row

    def remove(self, module: int) -> None:
        """Forget a module, if it is here."""
        if self._rows.pop(module, None) is not None:
            self._laid = None

    def rows_of(self, modules: Iterable[int]) -> list[Tensor]:
        """The rows [P] of modules that are here."""
        return [self._rows[module] for module in modules]

    def neutral_like(self, row: Tensor) -> Tensor:
        """A row that changes nothing, of the kind of another: scales of 1, and 0 for all that is added."""
        return torch.ones_like(row) if self._kind == "ia3" else torch.zeros_like(row)

    def activate(self, span: Span, groups: Groups, *, whole: bool = False) -> "Active":
        """The bank as it acts in a pass: on a span of one or more modules, or, of a single one, on whatever is read."""
        if self._laid is None or self._laid[0] != span.modules:
            self._laid = None  # what the last pass had goes before there is another
            rows = self.rows_of(span.modules)
            self._laid = (span.modules, rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows))
        tokens = slice(0, sys.maxsize) if whole else slice(span.start, span.stop)
        return Active(self, self._laid[1], tokens, groups)

    def _given(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by column, from peft's names."""
        given = {key.removeprefix(PEFT_PREFIX): tensor for key, tensor in tensors.items()}
        found = {key: tuple(tensor.shape) for key, tensor in given.items()}
        expected = {key: column.shape for key, column in self._columns.items()}
        if found != expected:
            wrong = sorted(set(found.items()) ^ set(expected.items()))
            raise TensorFileError(f"the adapter's tensors do not fit this backbone, for example {wrong[0][0]}")
        return given

    def _column(self, key: str, shape: tuple[int, ...]) -> _Column:
        return self._under_each_other([(key, shape)])[0]

    def _under_each_other(self, tensors: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[_Column, list[slice]]:
        """Give room to tensors [N, ...] that are alike but for N, as one [sum of N, ...], and tell the rows of each."""
        start = self._width
        ends = list(itertools.accumulate(shape[0] for _, shape in tensors))
        for key, shape in tensors:
            self._columns[key] = _Column(self._width, shape)
            self._width += math.prod(shape)
        self._width = -(-self._width // _LINE) * _LINE
        parts = [slice(end - shape[0], end) for end, (_, shape) in zip(ends, tensors, strict=True)]
        return _Column(start, (ends[-1], *tensors[0][1][1:])), parts


@dataclass
class _Down:
    """The last product of hidden states with all that the projections of an attention have for them.

    Attributes:
        source: The very tensor that was read; held, so that no other can be taken for it.
        column: What it was multiplied by.
        product: [T', sum of ranks].
    """

    source: Tensor
    column: _Column
    product: Tensor


@dataclass
class Active:
    """A bank in a pass.

    Attributes:
        bank: The bank.
        rows: Of the modules that occur, [K, P].
        span: Their tokens.
        groups: These, by module.
        thinned: Dropout of what a LoRA reads while it trains, which each projection draws for itself; None else.
    """

    bank: Bank
    rows: Tensor
    span: slice
    groups: Groups
    thinned: Callable[[Tensor], Tensor] | None = None
    _down: _Down | None = None

    def forget(self) -> None:
        """Let go of what was read last."""
        self._down = None

    def before(self, path: str, hidden: Tensor) -> Tensor:
        """What a module of the model is to read of hidden states [T, F]."""
        place = self.bank.places.get(path)
        if place is None or not place.scales_input:
            return hidden
        hidden = hidden.clone()
        hidden[self.span] *= self._by_token(place, 0)
        return hidden

    def after(self, path: str, read: "Source", result: Tensor, base: Base) -> Tensor:
        """What a module with result [T, G] of what it read should give; linear ones are changed in place."""
        place = self.bank.places.get(path)
        if place is None or place.scales_input:
            return result
        given = result[self.span]
        match place.kind:
            case "lora":
                self._add_product(given, self._down_of(read, place)[:, place.part], place, 1)
            case "ia3":
                given *= self._by_token(place, 0)
            case "bitfit":
                given += self._by_token(place, 0)
            case _:
                adapted = self._bottleneck(given, place)
                again = base.is_norm  # see petapter.adapters.bottleneck
                changed = base(read.hidden[self.span] + adapted) if again else given + adapted
                result = torch.cat([result[: self.span.start], changed, result[self.span.stop :]])
        return result

    def _down_of(self, read: "Source", place: _Place) -> Tensor:
        """The first product of a LoRA and of those beside it, which find it here if they read the same."""
        if self.thinned is not None:
            return self._product(self.thinned(read.hidden[self.span]), place, 0)
        column = place.columns[0]
        if self._down is None or self._down.source is not read.tensor or self._down.column != column:
            product = self._product(read.hidden[self.span], place, 0)
            self._down = _Down(read.tensor, column, product)
        return self._down.product

    def _bottleneck(self, given: Tensor, place: _Place) -> Tensor:
        down = self._product(given, place, 0).add_(self._by_token(place, 1)).relu_()
        return self._product(down, place, 2).add_(self._by_token(place, 3))

    def _tensor(self, place: _Place, index: int) -> Tensor:
        """A tensor of a place for all modules that occur, [K, ...]."""
        column = place.columns[index]
        found: Tensor = self.rows[:, column.part].unflatten(1, column.shape)
        return found

    def _product(self, read: Tensor, place: _Place, index: int) -> Tensor:
        """Tokens [T', F] by their module's weight [G, F], [T', G]."""
        return grouped_product(read, self._tensor(place, index).transpose(1, 2), self.groups)

    def _add_product(self, to: Tensor, read: Tensor, place: _Place, index: int) -> None:
        """Add such a product in place."""
        weights = self._tensor(place, index).transpose(1, 2)
        if is_alone(weights):
            to.addmm_(read, weights[0])
        else:
            to += grouped_product(read, weights, self.groups)

    def _by_token(self, place: _Place, index: int) -> Tensor:
        """Vectors of a place by token, [T', F]; of one module alone [F]."""
        vectors = self._tensor(place, index).flatten(1)
        return vectors[0] if is_alone(vectors) else vectors.index_select(0, self.groups.row_of)


@dataclass(frozen=True)
class Source:
    """What a module of the model read.

    Attributes:
        tensor: As it came, by which it is known again.
        hidden: By token, [T, F].
    """

    tensor: Tensor
    hidden: Tensor


class Places:
    """The modules of a model that any bank adapts: while a pass runs, what they read and give goes through its banks.

    They stay where they are under their own names and types; their `forward` alone is another until `close`.
    """

    def __init__(self, model: nn.Module) -> None:
        """Nothing is adapted yet."""
        self._model = model
        self._adapted: dict[str, nn.Module] = {}

    def adapt(self, paths: Sequence[str]) -> None:
        """See to it that these modules ask the banks."""
        for path in paths:
            if path not in self._adapted:
                module = self._model.get_submodule(path)
                module.forward = partial(_adapted_forward, path, module, module.forward)
                self._adapted[path] = module

    def close(self) -> None:
        """Give all modules their own `forward` back."""
        for module in self._adapted.values():
            del module.forward
        self._adapted.clear()


def _adapted_forward(path: str, module: nn.Module, forward: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
    now = running.get()
    if now is None or not now.active:
        return forward(hidden)
    base = Base(module, forward)
    flat = read = hidden.flatten(0, -2)
    for active in now.active:
        read = active.before(path, read)
    given = forward(read)  # what is no linear layer may give the very tensor it read: `after` leaves that as it is
    source = Source(hidden if read is flat else read, read)
    for active in now.active:
        given = active.after(path, source, given, base)
    result: Tensor = given.unflatten(0, hidden.shape[:-1])
    return result


def _reading_alike(names: Iterable[str]) -> list[list[str]]:
    """Projections of one attention together, every other module by itself."""
    found: dict[str, list[str]] = {}
    for name in names:
        parent, _, own = name.rpartition(".")
        found.setdefault(parent if own in _PROJECTIONS else name, []).append(name)
    return list(found.values())


def _scale(spec: AdapterSpec, key: str) -> float:
    """What LoRA multiplies its product by."""
    if not key.endswith("lora_B.weight"):
        return 1.0
    return (spec.alpha or 0.0) / (spec.rank or 1)
