"""Which runs a grid consists of, in which order, and the digest that says whether two runs are the same."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from petapter.benchmark.datasets import Dataset
from petapter.benchmark.grid import GridSpec, MethodPlan, narrowed
from petapter.benchmark.methods import Method, decided_by, resolve_method, uses_seed
from petapter.benchmark.samples import Sample
from petapter_schemas import strict_json
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec

_FORMAT = 2
"""Changes when a result under the same key would mean something else."""

AXES = ("dataset", "backbone", "method", "n", "sample", "seed")
"""What `Only` can narrow a run to."""

Only = Mapping[str, frozenset[str]]
"""By axis the values to run; an axis that is missing is not narrowed."""


@dataclass(frozen=True)
class Cell:
    """One run of one method on one sample.

    Attributes:
        dataset: What it is run on.
        backbone: Name of the backbone.
        plan: The method with its options.
        method: The same, ready to be called.
        task: The task with the patterns and words that the plan keeps.
        sample: The labelled rows.
        seed: None where the method draws nothing.
        key: Digest over all that decides the result.
    """

    dataset: Dataset
    backbone: str
    plan: MethodPlan
    method: Method
    task: TaskSpec
    sample: Sample
    seed: int | None
    key: str

    @property
    def words(self) -> str:
        """What the run is, for people."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.dataset.name} n={self.sample.size} sample {self.sample.index}, {self.plan.name}{seed}"

    def value(self, axis: str) -> str:
        """Its place on one of AXES, as text."""
        places = {
            "dataset": self.dataset.name,
            "backbone": self.backbone,
            "method": self.plan.name,
            "n": self.sample.size,
            "sample": self.sample.index,
            "seed": self.seed,
        }
        return str(places[axis])


def plan_cells(grid: GridSpec, datasets: Sequence[Dataset], backbones: Mapping[str, str], version: str) -> list[Cell]:
    """All runs of a grid: backbone by backbone, small samples first, all methods of a sample together.

    Args:
        grid: The grid.
        datasets: Its data sets.
        backbones: Digest of each backbone by its name in the grid.
        version: Of petapter: another version may answer otherwise, so it runs again.

    Raises:
        InputError: A method is unknown or does not take its options.
    """
    methods = {plan.name: _method(plan) for plan in grid.plans}
    sizes = sorted(set(grid.n))
    cells: list[Cell] = []
    for backbone, size, dataset in itertools.product(grid.backbones, sizes, datasets):
        tasks = {plan.name: narrowed(dataset.task, plan) for plan in grid.plans}
        common = _common(dataset, backbones[backbone], version)
        samples = [drawn for drawn in dataset.samples if drawn.size == size]
        for sample, plan in itertools.product(samples, grid.plans):
            method, task = methods[plan.name], tasks[plan.name]
            for seed in _seeds(grid, plan, method):
                key = _key(common, (plan.method, method), task, sample, seed)
                cells.append(Cell(dataset, backbone, plan, method, task, sample, seed, key))
    return cells


def select_cells(cells: Sequence[Cell], only: Only) -> list[Cell]:
    """The cells at the given places.

    Raises:
        InputError: An axis does not exist, or no cell is at one of the places.
    """
    for axis, values in only.items():
        if axis not in AXES:
            raise InputError(f"there is nothing called {axis!r} to choose by: choose among {', '.join(AXES)}")
        known = dict.fromkeys(cell.value(axis) for cell in cells)
        if missing := sorted(values - set(known)):
            raise InputError(f"the grid has no {axis} {missing[0]!r} (it has: {', '.join(known)})")
    return [cell for cell in cells if all(cell.value(axis) in values for axis, values in only.items())]


def _method(plan: MethodPlan) -> Method:
    try:
        return resolve_method(plan.method, plan.options)
    except InputError as error:
        raise InputError(f"method {plan.name!r} of the grid: {error}") from error


def _seeds(grid: GridSpec, plan: MethodPlan, method: Method) -> Sequence[int | None]:
    return range(plan.seeds or grid.seeds) if uses_seed(method) else (None,)


def _common(dataset: Dataset, backbone: str, version: str) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "petapter": version,
        "test": dataset.test_digest,
        "unlabelled": dataset.unlabelled_digest,
        "backbone": backbone,
    }


def _key(
    common: Mapping[str, object], named: tuple[str, Method], task: TaskSpec, sample: Sample, seed: int | None
) -> str:
    name, method = named
    own = {
        "method": name,
        **decided_by(method),
        "task": task.model_dump(mode="json"),
        "sample": sample.digest,
        "seed": seed,
    }
    return strict_json.canonical_sha256({**common, **own})
