"""How modules become one: the method, what each module counts, and what the sparse methods need besides."""

from dataclasses import dataclass

from petapter_schemas.errors import InputError
from petapter_schemas.merge_spec import MergeMethod

DENSITY = 0.5
"""Share of the numbers kept; Yadav et al. 2023 (arXiv 2306.01708) keep 0.2 of a whole model's weights."""

_METHODS = ("linear", "ties", "dare-linear", "dare-ties")


@dataclass(frozen=True)
class Recipe:
    """A way to merge.

    Attributes:
        method: linear: the weighted mean of what the adapters change. ties: of each module the largest changes, and of
            these the mean of those that have the sign of most (Yadav et al. 2023, arXiv 2306.01708). dare-linear,
            dare-ties: of each module changes drawn at random, scaled up for the others, then like linear or like ties
            (Yu et al. 2024, arXiv 2311.03099).
        weights: What each module counts, at least 0; only their ratios matter. None counts all alike.
        density: Share of the changes that ties and dare keep of each module.
        seed: Draws what dare drops.
    """

    method: MergeMethod = "linear"
    weights: tuple[float, ...] | None = None
    density: float = DENSITY
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            raise InputError(f"{self.method!r} is no way to merge: take one of {', '.join(_METHODS)}")
        if not 0 < self.density <= 1:
            raise InputError(f"the density must be above 0 and at most 1, not {self.density:g}")

    @property
    def elects_signs(self) -> bool:
        """Whether changes that go against most are left out."""
        return self.method in {"ties", "dare-ties"}

    @property
    def draws(self) -> bool:
        """Whether changes are dropped at random."""
        return self.method in {"dare-linear", "dare-ties"}
