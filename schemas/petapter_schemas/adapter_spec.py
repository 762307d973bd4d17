"""The manifest's `adapter`: what was added inside the backbone, of which kind, where, and how much."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from petapter_schemas.frozen import Frozen

Count = Annotated[int, Field(ge=0, lt=1 << 53)]  # beyond, JSON readers that use doubles lose the last digit
Dtype = Literal["float32", "float16", "bfloat16", "int8"]
AdapterKind = Literal["lora", "ia3", "bottleneck", "bitfit", "none"]
Placement = Literal["pfeiffer", "houlsby"]
TargetName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]

_MAX_TARGETS, _MAX_LAYERS = 64, 1024
"""Far beyond any backbone, and few enough that matching names against them takes no time."""

_OWN_FIELDS: dict[AdapterKind, tuple[str, ...]] = {"lora": ("rank", "alpha"), "bottleneck": ("reduction", "placement")}
"""What a kind must have; no other kind may."""


class AdapterSpec(Frozen):
    """What was added inside the backbone. `layers` None means all; `parameters` counts trained numbers.

    `targets` are names of modules: for `lora` the last parts of them, for the other kinds the whole name after the
    number of the layer. `feedforward` are those of (IA)^3 whose input is scaled and not their output. A bottleneck
    has hidden_size // `reduction` neurons.
    """

    kind: AdapterKind
    rank: Annotated[int, Field(ge=1)] | None = None
    alpha: Annotated[float, Field(gt=0)] | None = None
    reduction: Annotated[int, Field(ge=1)] | None = None
    placement: Placement | None = None
    targets: Annotated[tuple[TargetName, ...], Field(max_length=_MAX_TARGETS)] = ()
    feedforward: Annotated[tuple[TargetName, ...], Field(max_length=_MAX_TARGETS)] = ()
    layers: Annotated[tuple[Count, ...], Field(max_length=_MAX_LAYERS)] | None = None
    parameters: Count
    dtype: Dtype = "float32"

    @model_validator(mode="after")
    def _has_its_own_fields(self) -> Self:
        for kind, fields in _OWN_FIELDS.items():
            given = [field for field in fields if getattr(self, field) is not None]
            if self.kind == kind and len(given) < len(fields):
                raise ValueError(f"a {kind} adapter needs {' and '.join(fields)}")
            if self.kind != kind and given:
                raise ValueError(f"{given[0]} has no meaning for an adapter of kind {self.kind!r}: drop it")
        return self

    @model_validator(mode="after")
    def _none_is_empty(self) -> Self:
        if (self.kind == "none") != (self.parameters == 0):
            raise ValueError("an adapter of kind 'none' has 0 parameters, and only that one")
        if self.kind == "none" and (self.targets or self.layers is not None):
            raise ValueError("an adapter of kind 'none' has no targets and no layers")
        return self

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.kind not in {"lora", "none"} and not self.targets:
            raise ValueError(f"a {self.kind} adapter needs targets")
        if self.layers == ():
            raise ValueError("layers must name one at least, or be null for all")
        if self.feedforward and (self.kind != "ia3" or not set(self.feedforward) <= set(self.targets)):
            raise ValueError("feedforward belongs to ia3 alone and names some of its targets")
        return self

    @field_validator("targets", "feedforward", "layers")
    @classmethod
    def _each_once(cls, items: tuple[object, ...] | None) -> tuple[object, ...] | None:
        if items is not None and len(set(items)) < len(items):
            raise ValueError("must name each one once")
        return items
