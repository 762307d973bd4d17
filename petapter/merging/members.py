"""Which modules can become one, and why others cannot; and what a manifest says about where a merge comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from petapter.merging.recipe import Recipe
from petapter.runtime.ensembles import shares
from petapter.trained import TrainedModule
from petapter_schemas.adapter_spec import AdapterSpec
from petapter_schemas.digests import Sha256
from petapter_schemas.errors import BackboneMismatchError, InputError
from petapter_schemas.manifest import BackboneSpec, HeadSpec, LineageSpec, TrainingSpec
from petapter_schemas.merge_spec import MAX_MEMBERS, MergeMember, MergeSpec
from petapter_schemas.task import TaskSpec


@dataclass(frozen=True)
class Member:
    """A module with the name it goes by: those of its manifest, and the manifest's digest."""

    module: TrainedModule
    name: str
    version: str
    manifest_sha256: Sha256


class Described(Protocol):
    """What a `TrainedModule` and a `Manifest` both say of a module."""

    @property
    def task(self) -> TaskSpec:
        """Labels, words, patterns."""

    @property
    def backbone(self) -> BackboneSpec:
        """What it was trained on."""

    @property
    def adapter(self) -> AdapterSpec:
        """What was added inside the backbone."""

    @property
    def head(self) -> HeadSpec:
        """How hidden states become scores."""

    @property
    def training(self) -> TrainingSpec:
        """How it came to be."""


def check_alike(modules: Sequence[Described], names: Sequence[str]) -> None:
    """Refuse modules that cannot even answer together: they share the backbone and the labels in their order.

    Raises:
        InputError: There are fewer than two or too many, or types or labels differ.
        BackboneMismatchError: They belong to different backbones.
    """
    if not 2 <= len(modules) <= MAX_MEMBERS:  # noqa: PLR2004 (several)
        raise InputError(f"2 to {MAX_MEMBERS} modules can become one, not {len(modules)}")
    _each_like_the_first(modules, names, _ANSWER_TOGETHER, "")


def check_mergeable(modules: Sequence[Described], names: Sequence[str]) -> None:
    """Refuse modules whose weights cannot be averaged; both sequences in the order of the modules.

    Raises:
        InputError: As `check_alike`, or tasks, adapters or heads are of different forms.
        BackboneMismatchError: They belong to different backbones.
    """
    check_alike(modules, names)
    remedy = "; --method ensemble takes both as they are"
    _each_like_the_first(modules, names, _MERGE, remedy)
    first = modules[0]
    if {"int8"} & {dtype for module in modules for dtype in (module.adapter.dtype, module.head.dtype)}:
        raise InputError("int8 weights cannot be merged: upgrade petapter")
    own_start = first.head.init == "random" and "dense" in first.head.parts
    if own_start and len({module.training.seeds for module in modules}) > 1:
        raise InputError(
            f"these heads began at different random weights (seeds {_seeds(modules)}), so their mean would mean "
            "nothing: train them from one seed, or let them answer together (--method ensemble)"
        )


def lineage_of(members: Sequence[Member], recipe: Recipe, trained_from: Sequence[str] = ()) -> LineageSpec:
    """What the manifest of a merge says of its members.

    Args:
        members: In the order of the recipe's weights.
        recipe: What was done.
        trained_from: References of members that were pulled.
    """
    weights = shares(recipe.weights, len(members))
    return LineageSpec(
        trained_from=tuple(trained_from),
        merge=MergeSpec(
            method=recipe.method,
            density=None if recipe.method == "linear" else recipe.density,
            seed=recipe.seed if recipe.draws else None,
            members=tuple(
                MergeMember(name=m.name, version=m.version, manifest_sha256=m.manifest_sha256, weight=weight)
                for m, weight in zip(members, weights, strict=True)
            ),
        ),
    )


def _backbone(module: Described) -> object:
    return module.backbone.digests


def _words(module: Described) -> object:
    return [label.words for label in module.task.labels], module.backbone.verbalizer_ids


def _patterns(module: Described) -> object:
    task = module.task
    return task.fields, task.patterns, task.tokenization


def _places(module: Described) -> object:
    spec = module.adapter
    return set(spec.targets), set(spec.feedforward), None if spec.layers is None else set(spec.layers)


def _head_form(module: Described) -> object:
    head = module.head
    form = (head.reads, head.pool_layers, head.init, set(head.parts), head.activation, head.norm, head.norm_eps)
    return *form, head.feature_size


_Look = Callable[[Described], object]

_ANSWER_TOGETHER: dict[str, _Look] = {
    "backbones": _backbone,
    "types of task": lambda module: module.task.type,
    "labels (or their order)": lambda module: module.task.label_names,
}
_MERGE: dict[str, _Look] = {
    "label words": _words,
    "text fields, patterns or tokenization": _patterns,
    "class priors": lambda module: module.task.class_prior,
    "kinds of adapter": lambda module: module.adapter.kind,
    "adapted modules or layers": _places,
    "bottlenecks": lambda module: (module.adapter.reduction, module.adapter.placement),
    "forms of head": _head_form,
}
"""What must be the same in all members."""


def _each_like_the_first(
    modules: Sequence[Described], names: Sequence[str], looks: dict[str, _Look], remedy: str
) -> None:
    for what, look in looks.items():
        for name, module in zip(names[1:], modules[1:], strict=True):
            if look(module) != look(modules[0]):
                error = BackboneMismatchError if look is _backbone else InputError
                raise error(
                    f"{names[0]} and {name} have different {what}{remedy or ': such modules do not go together'}"
                )


def _seeds(modules: Sequence[Described]) -> str:
    return ", ".join(" and ".join(map(str, module.training.seeds)) for module in modules)
