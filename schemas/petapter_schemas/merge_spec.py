"""The manifest's `lineage.merge`: which modules were averaged, how much each counted, and by which method."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from petapter_schemas.digests import Sha256
from petapter_schemas.frozen import Frozen
from petapter_schemas.names import ModuleName
from petapter_schemas.sem_ver import SemVer

MergeMethod = Literal["linear", "ties", "dare-linear", "dare-ties"]
MAX_MEMBERS = 64

Weight = Annotated[float, Field(ge=0, le=1)]
Density = Annotated[float, Field(gt=0, le=1)]

_WEIGHTS_TOLERANCE = 1e-6


class MergeMember(Frozen):
    """A module that was merged; `manifest_sha256` names its version byte by byte."""

    name: ModuleName
    version: SemVer
    manifest_sha256: Sha256
    weight: Weight


class MergeSpec(Frozen):
    """How modules became one.

    `density` is the share of numbers that TIES or DARE keep of each module; `seed` draws what DARE drops.
    """

    method: MergeMethod
    density: Density | None = None
    seed: int | None = None
    members: Annotated[tuple[MergeMember, ...], Field(min_length=2, max_length=MAX_MEMBERS)]

    @property
    def recipe(self) -> str:
        """Method, density and seed on one line, for people."""
        density = "" if self.density is None else f", density {self.density:g}"
        return f"{self.method}{density}{'' if self.seed is None else f', seed {self.seed}'}"

    @field_validator("members")
    @classmethod
    def _weights_are_shares(cls, members: tuple[MergeMember, ...]) -> tuple[MergeMember, ...]:
        check_shares([member.weight for member in members])
        return members

    @model_validator(mode="after")
    def _has_what_its_method_needs(self) -> Self:
        if (self.density is None) != (self.method == "linear"):
            raise ValueError("density belongs to ties, dare-linear and dare-ties, and each of them needs it")
        if (self.seed is None) == self.method.startswith("dare"):
            raise ValueError("seed belongs to dare-linear and dare-ties, and each of them needs it")
        return self


def check_shares(weights: list[float]) -> None:
    """Refuse weights that do not add up to 1.

    Raises:
        ValueError: They do not.
    """
    if abs(math.fsum(weights) - 1) > _WEIGHTS_TOLERANCE:
        raise ValueError(f"the weights of the members add up to {math.fsum(weights):.6g}: they must add up to 1")
