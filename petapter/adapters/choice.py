"""The choice of an adapter, and what it comes to on a given backbone: modules, layers, number of parameters."""

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from torch import nn
from transformers import PreTrainedModel

from petapter.adapters.architectures import Ia3Place, Places, places
from petapter_schemas.adapter_files import module_pattern
from petapter_schemas.adapter_spec import AdapterKind, AdapterSpec, Placement
from petapter_schemas.errors import BackboneError, InputError

_KINDS = ("lora", "ia3", "bottleneck", "bitfit", "none")
_PLACEMENTS = ("pfeiffer", "houlsby")
_IA3_PLACES = ("after-activation", "before-activation")
_LAYER_NUMBER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")


@dataclass(frozen=True)
class AdapterChoice:
    """What to train inside the backbone.

    Attributes:
        kind: LoRA, (IA)^3, a bottleneck, BitFit, or nothing, so that the head alone trains.
        rank: Of LoRA.
        alpha: LoRA's scale is alpha / rank; PETapter uses 16 with rank 8.
        reduction: A bottleneck has the backbone's width divided by this, rounded down.
        placement: Of bottlenecks: after the feed-forward block alone, or after the attention block too.
        targets: Names of the adapted linear layers, those of the architecture by default; for LoRA the last part is
            enough, for (IA)^3 and BitFit it is the whole name inside a layer. Of a bottleneck the placement decides.
        layers: Numbers of the adapted layers from 0, all by default; see `top_layers`.
        dropout: Of LoRA's input, while it trains.
        up_std: Standard deviation of the weights of a bottleneck's second layer at the start. With 0 a new adapter
            changes nothing; AdapterHub's, and so PETapter's, is 0.02.
        ia3_place: Of (IA)^3 without chosen targets: scale what the activation of the feed-forward block gives, as its
            authors do, or what it gets, as AdapterHub, and so PETapter, does. Chosen targets say so by themselves: the
            map into the block's middle is scaled at its output, the map back at its input.
    """

    kind: AdapterKind = "lora"
    rank: int = 8
    alpha: float = 16.0
    reduction: int = 16
    placement: Placement = "pfeiffer"
    targets: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    dropout: float = 0.0
    up_std: float = 0.0
    ia3_place: Ia3Place = "after-activation"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"{self.kind!r} is no kind of adapter: take one of {', '.join(_KINDS)}")
        if self.placement not in _PLACEMENTS:
            raise InputError(f"{self.placement!r} is no placement of a bottleneck: take {' or '.join(_PLACEMENTS)}")
        if self.rank < 1 or self.reduction < 1:
            raise InputError("an adapter's rank and reduction must be 1 or more")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise InputError("alpha must be more than 0")
        if not 0 <= self.dropout < 1 or (self.dropout and self.kind != "lora"):
            raise InputError("an adapter's dropout must be at least 0 and below 1, and belongs to lora alone")
        if not 0 <= self.up_std <= 1 or (self.up_std and self.kind != "bottleneck"):
            raise InputError("up_std must be 0 to 1, and belongs to bottleneck alone")
        self._check_where()
        self._check_ia3_place()

    def _check_where(self) -> None:
        if self.targets is not None and self.kind in {"bottleneck", "none"}:
            raise InputError(f"an adapter of kind {self.kind!r} takes no targets: drop them")
        if self.layers is not None and self.kind == "none":
            raise InputError("an adapter of kind 'none' takes no layers: drop them")
        for name, given in (("targets", self.targets), ("layers", self.layers)):
            if given is not None and (not given or len(set(given)) < len(given)):
                raise InputError(f"an adapter's {name} must be one at least, each once; leave them out for all")
        if any(layer < 0 for layer in self.layers or ()):
            raise InputError("an adapter's layers are counted from 0")

    def _check_ia3_place(self) -> None:
        if self.ia3_place not in _IA3_PLACES:
            raise InputError(f"{self.ia3_place!r} is no place of (IA)^3: take {' or '.join(_IA3_PLACES)}")
        if self.ia3_place != "after-activation" and (self.kind != "ia3" or self.targets is not None):
            raise InputError("ia3_place belongs to ia3 alone, where no targets are chosen: drop it")

    def hyperparameters(self) -> dict[str, bool | int | float | str]:
        """What belongs to the kind, under names that begin with `adapter`, for the manifest."""
        chosen = asdict(self)
        named = {key: chosen[key] for key in _HYPERPARAMETERS[self.kind] if chosen[key] is not None}
        flat = {key: ",".join(map(str, value)) if isinstance(value, tuple) else value for key, value in named.items()}
        return {"adapter": self.kind, **{f"adapter_{key}": value for key, value in flat.items()}}


_HYPERPARAMETERS: dict[AdapterKind, tuple[str, ...]] = {
    "lora": ("rank", "alpha", "dropout"),
    "ia3": (),
    "bottleneck": ("reduction", "placement", "up_std"),
    "bitfit": (),
    "none": (),
}
"""Targets, and with them the place of (IA)^3, and layers are left to the manifest's `adapter`, which always names them
in full."""


def top_layers(model: PreTrainedModel, share: float) -> tuple[int, ...]:
    """The numbers of a share of the layers, nearest to the head, rounded to whole layers (a half up), at least one.

    Raises:
        InputError: The share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of layers must be above 0 and at most 1, not {share}")
    count = int(model.config.num_hidden_layers)
    return tuple(range(count - max(1, math.floor(share * count + 0.5)), count))


def adapter_spec(choice: AdapterChoice, model: PreTrainedModel) -> AdapterSpec:
    """What a choice comes to on a backbone's model; nothing is added to it yet.

    Raises:
        BackboneError: The architecture has no place for the kind, or no such targets or layers.
        InputError: The bottleneck would have no neurons, or a target is no name.
    """
    if choice.kind == "none":
        return AdapterSpec(kind="none", parameters=0)
    known = places(model.config.model_type, choice.kind)
    targets = choice.targets or known.targets(choice.kind, choice.placement, choice.ia3_place)
    if wrong := [target for target in targets if not re.fullmatch(r"\w+(\.\w+)*", target, re.ASCII)]:
        raise InputError(f"{wrong[0]!r} is no name of a module inside a layer")
    if choice.kind == "bottleneck" and choice.reduction > model.config.hidden_size:
        raise InputError(f"reduction {choice.reduction} leaves no neuron of {model.config.hidden_size}: take less")
    spec = AdapterSpec(
        kind=choice.kind,
        rank=choice.rank if choice.kind == "lora" else None,
        alpha=choice.alpha if choice.kind == "lora" else None,
        reduction=choice.reduction if choice.kind == "bottleneck" else None,
        placement=choice.placement if choice.kind == "bottleneck" else None,
        targets=targets,
        feedforward=tuple(t for t in targets if t in known.feedforward) if choice.kind == "ia3" else (),
        layers=tuple(sorted(choice.layers)) if choice.layers is not None else None,
        parameters=1,
    )
    return spec.model_copy(update={"parameters": check_places(spec, model)})


def check_places(spec: AdapterSpec, model: PreTrainedModel) -> int:
    """Make sure that an adapter can be put into a backbone's model as it is described.

    Returns:
        How many parameters it has there.

    Raises:
        BackboneError: The architecture has no place for the kind, no such targets or layers, or layers without bias.
    """
    known = places(model.config.model_type, spec.kind)
    _check_agrees(spec, known, model)
    if beyond := [layer for layer in spec.layers or () if layer >= model.config.num_hidden_layers]:
        raise BackboneError(f"the backbone has no layer {beyond[0]}: it has {model.config.num_hidden_layers}, from 0")
    found = dict(adapted_modules(spec, model))
    for target in spec.targets:
        if not any(name == target or name.endswith(f".{target}") for name in found):
            usual = ", ".join(known.targets(spec.kind, spec.placement, "after-activation"))
            raise BackboneError(
                f"the backbone has no {target!r} in such layers: name modules inside its layers, such as {usual}"
            )
    numbers = {layer_number(name) for name in found}
    if lost := set(spec.layers or ()) - numbers:
        raise BackboneError(f"the backbone has no layer {min(lost)}: it has {model.config.num_hidden_layers}, from 0")
    shapes = (tensor_shapes(spec, name, module, model) for name, module in found.items())
    return sum(math.prod(shape) for of_place in shapes for shape in of_place.values())


def _check_agrees(spec: AdapterSpec, known: Places, model: PreTrainedModel) -> None:
    """Whether the description fits what the targets mean in this architecture."""
    if known.shared and spec.layers is not None:
        raise BackboneError(
            f"the layers of {model.config.model_type} share their weights: leave the choice of layers out"
        )
    if spec.kind == "bottleneck" and set(spec.targets) != set(known.bottleneck[spec.placement or "pfeiffer"]):
        raise BackboneError(f"the targets of the adapter are not those of placement {spec.placement!r}")
    if spec.kind == "ia3" and set(spec.feedforward) != set(spec.targets) & set(known.feedforward):
        raise BackboneError("the adapter's feedforward are not the targets of the feed-forward block")


def adapted_modules(spec: AdapterSpec, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The adapted modules by their whole names, as peft will find them."""
    pattern = re.compile(module_pattern(spec.targets, spec.layers))
    for name, module in model.named_modules():
        if spec.kind != "lora":
            if pattern.fullmatch(name):
                yield name, module
        elif any(name == target or name.endswith(f".{target}") for target in spec.targets) and (
            spec.layers is None or layer_number(name) in spec.layers
        ):
            yield name, module


def tensor_shapes(
    spec: AdapterSpec, name: str, module: nn.Module, model: PreTrainedModel
) -> dict[str, tuple[int, ...]]:
    """The tensors that an adapter has at one of its places, under the names that peft gives them behind the place's.

    Raises:
        BackboneError: The module cannot be adapted so.
    """
    if spec.kind == "bottleneck":
        hidden, neurons = int(model.config.hidden_size), int(model.config.hidden_size) // (spec.reduction or 1)
        return {
            "bottleneck_down.weight": (neurons, hidden),
            "bottleneck_down.bias": (neurons,),
            "bottleneck_up.weight": (hidden, neurons),
            "bottleneck_up.bias": (hidden,),
        }
    if not isinstance(module, nn.Linear):
        raise BackboneError(f"{name} is no linear layer: choose other targets")
    if spec.kind == "lora":
        rank = spec.rank or 0
        return {"lora_A.weight": (rank, module.in_features), "lora_B.weight": (module.out_features, rank)}
    if spec.kind == "bitfit":
        if module.bias is None:
            raise BackboneError(f"{name} has no bias that could be trained: choose other targets")
        return {"beft_bias": (1, module.out_features)}
    return {"ia3_l": (1, module.in_features) if scales_input(spec, name) else (module.out_features, 1)}


def scales_input(spec: AdapterSpec, name: str) -> bool:
    """Whether an (IA)^3 scales what a module of this name reads, not what it gives."""
    pattern = module_pattern(spec.feedforward, spec.layers) if spec.feedforward else None
    return pattern is not None and re.fullmatch(pattern, name) is not None


def lora_adapts_keys(model: PreTrainedModel) -> bool:
    """Whether LoRA on queries and values adapts the keys too, since one projection gives all three.

    Raises:
        BackboneError: The architecture is not known here.
    """
    return places(model.config.model_type, "lora").fused


def layer_number(name: str) -> int | None:
    """The number of the layer that a module of this name stands in."""
    found = _LAYER_NUMBER.search(name)
    return int(found[1]) if found else None
