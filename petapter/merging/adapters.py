"""Merges adapters of one kind into one of that kind.

LoRA: the change B A alpha / rank of each place is merged and written as one product again. Its rank is as high as it
must be, and at most the sum of the members' ranks: under `linear` nothing is lost (peft's `cat`), under the others what
a singular value decomposition cannot hold in that rank is (peft's `*_svd`). (IA)^3 changes nothing at 1, BitFit at 0.
Bottlenecks are not linear, so that only `linear` has a meaning: the neurons of all stand side by side, each member's
output weighted, which is the mean of what the adapters give; neurons that members have in common stand there once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from petapter.merging.changes import merged_changes
from petapter.merging.recipe import Recipe
from petapter.trained import TrainedModule
from petapter_schemas.adapter_spec import AdapterSpec, Dtype
from petapter_schemas.errors import InputError

_A, _B = "lora_A.weight", "lora_B.weight"
_LEAST_SINGULAR_VALUE = 1e-7
"""By the largest one of the place: below, a direction is the rounding of float32."""

_TORCH_DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class MergedAdapter:
    """An adapter, its tensors, and the least share of squared singular values that its rank holds at any place."""

    spec: AdapterSpec
    tensors: Tensors
    held: float = 1.0


def merge_adapters(modules: Sequence[TrainedModule], weights: Sequence[float], recipe: Recipe) -> MergedAdapter:
    """Merge the adapters of modules that `check_mergeable` lets pass.

    Raises:
        InputError: The kind cannot be merged by this method, or would become too large.
    """
    parts = [(module, weight) for module, weight in zip(modules, weights, strict=True) if weight > 0]
    specs = [module.adapter for module, _ in parts]
    if specs[0].kind == "none":
        return MergedAdapter(specs[0], {})
    tensors = [{name: t.float() for name, t in sorted(module.adapter_tensors.items())} for module, _ in parts]
    counted = [weight for _, weight in parts]
    match specs[0].kind:
        case "lora":
            merged = _lora(specs, tensors, counted, recipe)
        case "bottleneck":
            merged = _bottleneck(specs[0], tensors, counted, recipe)
        case _:
            merged = _vectors(specs[0], tensors, counted, recipe)
    return _stored(merged, common_dtype([spec.dtype for spec in specs]))


def common_dtype(dtypes: Sequence[Dtype]) -> Dtype:
    """The dtype of all, or float32 where they differ."""
    return dtypes[0] if len(set(dtypes)) == 1 else "float32"


def as_stored(tensors: Tensors, dtype: Dtype) -> dict[str, Tensor]:
    """Tensors as a file of that dtype holds them."""
    return {name: tensor.to(_TORCH_DTYPES[dtype]).contiguous() for name, tensor in tensors.items()}


def _stored(merged: MergedAdapter, dtype: Dtype) -> MergedAdapter:
    count = sum(tensor.numel() for tensor in merged.tensors.values())
    spec = merged.spec.model_copy(update={"parameters": count, "dtype": dtype})
    return MergedAdapter(spec, as_stored(merged.tensors, dtype), merged.held)


def _vectors(spec: AdapterSpec, tensors: Sequence[Tensors], weights: Sequence[float], recipe: Recipe) -> MergedAdapter:
    neutral = 1.0 if spec.kind == "ia3" else 0.0
    merged = {
        name: neutral + merged_changes([own[name] - neutral for own in tensors], weights, recipe) for name in tensors[0]
    }
    return MergedAdapter(spec, merged)


@dataclass(frozen=True)
class _Decomposed:
    """The change of one place as left [out, n] diag(values [n]) right [n, in], values descending."""

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        """How many of the values are more than rounding."""
        return int((self.values > self.values.max() * _LEAST_SINGULAR_VALUE).sum())

    def held(self, rank: int) -> float:
        """The share of squared values among the first."""
        total = float(self.values.square().sum())
        return float(self.values[:rank].square().sum()) / total if total else 1.0

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """A [rank, in] and B [out, rank] whose product is the change, filled up with zeros."""
        root = self.values[:rank].sqrt()
        down, up = root[:, None] * self.right[:rank], self.left[:, :rank] * root
        more = rank - len(root)
        return torch.nn.functional.pad(down, (0, 0, 0, more)).float(), torch.nn.functional.pad(up, (0, more)).float()


def _lora(
    specs: Sequence[AdapterSpec], tensors: Sequence[Tensors], weights: Sequence[float], recipe: Recipe
) -> MergedAdapter:
    places = sorted(name.removesuffix(_A) for name in tensors[0] if name.endswith(_A))
    scales = [(spec.alpha or 0.0) / (spec.rank or 1) for spec in specs]
    found: dict[str, _Decomposed] = {}
    for place in places:
        pairs = [(own[place + _A], own[place + _B] * scale) for own, scale in zip(tensors, scales, strict=True)]
        if recipe.method == "linear":
            found[place] = _side_by_side(pairs, weights)
        else:
            found[place] = _decomposed(merged_changes([up @ down for down, up in pairs], weights, recipe))
    most = sum(spec.rank or 0 for spec in specs)
    rank = max(1, min(most, max(each.rank for each in found.values())))
    merged: dict[str, Tensor] = {}
    for place, each in found.items():
        merged[place + _A], merged[place + _B] = each.factors(rank)
    spec = specs[0].model_copy(update={"rank": rank, "alpha": float(rank)})  # scale 1
    return MergedAdapter(spec, merged, min(each.held(rank) for each in found.values()))


def _decomposed(change: Tensor) -> _Decomposed:
    left, values, right = torch.linalg.svd(change.double(), full_matrices=False)
    return _Decomposed(left, values, right)


def _side_by_side(pairs: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float]) -> _Decomposed:
    """The weighted sum of products, decomposed without making it: by the factors of its two long sides."""
    down = torch.cat([own for own, _ in pairs]).double()  # [n, in]
    up = torch.cat([own.double() * weight for (_, own), weight in zip(pairs, weights, strict=True)], dim=1)  # [out, n]
    left, left_rest = torch.linalg.qr(up)
    right, right_rest = torch.linalg.qr(down.T)
    inner = _decomposed(left_rest @ right_rest.T)
    return _Decomposed(left @ inner.left, inner.values, inner.right @ right.T)


_DOWN, _DOWN_BIAS = "bottleneck_down.weight", "bottleneck_down.bias"
_UP, _UP_BIAS = "bottleneck_up.weight", "bottleneck_up.bias"


def _bottleneck(
    spec: AdapterSpec, tensors: Sequence[Tensors], weights: Sequence[float], recipe: Recipe
) -> MergedAdapter:
    if recipe.method != "linear":
        raise InputError(
            f"{recipe.method} merges changes that add up, and a bottleneck's two layers do not: take linear or ensemble"
        )
    places = sorted(name.removesuffix(_DOWN) for name in tensors[0] if name.endswith(_DOWN))
    neurons = {place: _neurons([_of_place(own, place) for own in tensors], weights) for place in places}
    hidden = next(iter(neurons.values())).up.shape[0]
    reduction = _reduction(spec, hidden, max(len(each.down) for each in neurons.values()))
    merged: dict[str, Tensor] = {}
    for place, each in neurons.items():
        merged |= {place + name: tensor for name, tensor in each.filled(hidden // reduction).items()}
    return MergedAdapter(spec.model_copy(update={"reduction": reduction}), merged)


@dataclass(frozen=True)
class _Neurons:
    """Bottlenecks of one place side by side: down [n, H + 1] with its bias last, up [H, n], and up's bias [H]."""

    down: Tensor
    up: Tensor
    bias: Tensor

    def filled(self, count: int) -> dict[str, Tensor]:
        """The tensors, with neurons that do nothing up to so many."""
        more = count - len(self.down)
        down = torch.nn.functional.pad(self.down, (0, 0, 0, more))
        up = torch.nn.functional.pad(self.up, (0, more))
        return {_DOWN: down[:, :-1], _DOWN_BIAS: down[:, -1], _UP: up, _UP_BIAS: self.bias}


def _of_place(tensors: Tensors, place: str) -> _Neurons:
    down = torch.cat([tensors[place + _DOWN], tensors[place + _DOWN_BIAS][:, None]], dim=1)
    return _Neurons(down, tensors[place + _UP], tensors[place + _UP_BIAS])


def _neurons(members: Sequence[_Neurons], weights: Sequence[float]) -> _Neurons:
    down, same = torch.cat([own.down for own in members]).unique(dim=0, return_inverse=True)
    up = torch.cat([own.up * weight for own, weight in zip(members, weights, strict=True)], dim=1)  # [H, all]
    together = torch.zeros(len(up), len(down)).index_add_(1, same, up)
    bias = sum((own.bias * weight for own, weight in zip(members, weights, strict=True)), torch.zeros(len(up)))
    return _Neurons(down, together, bias)


def _reduction(spec: AdapterSpec, hidden: int, neurons: int) -> int:
    """The member's own if there is room for so many neurons, else the largest that has it."""
    if neurons > hidden:
        raise InputError(
            f"the merged bottleneck would have {neurons} neurons, more than the backbone's width {hidden}: merge fewer "
            "modules, or let them answer together (--method ensemble)"
        )
    own = spec.reduction or 1
    return own if hidden // own >= neurons else hidden // neurons
