"""Runs the cells of a grid one after the other and stores each result before the next begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from petapter.backbone import Backbone
from petapter.benchmark.cells import Cell, plan_cells
from petapter.benchmark.datasets import Dataset, load_datasets
from petapter.benchmark.grid import GridSpec, read_grid
from petapter.benchmark.machine import hardware, library_versions, torch_threads
from petapter.benchmark.measuring import measure
from petapter.benchmark.methods import Trial
from petapter.benchmark.results import Failed, Finished, Line, Result, Store
from petapter_schemas import strict_json
from petapter_schemas.errors import PetapterError
from petapter_schemas.fingerprints import config_sha256, tokenizer_sha256, weights_sha256

_DIGITS = 6
"""Decimal places of a stored figure."""


@dataclass(frozen=True)
class BackbonePlace:
    """Where a backbone of the grid lies on this machine.

    Attributes:
        directory: Its files.
        repo: The name to record for it.
        revision: Its commit, where it has one.
    """

    directory: Path
    repo: str
    revision: str | None = None

    @property
    def digest(self) -> str:
        """Names weights, configuration and tokenizer."""
        return strict_json.canonical_sha256(
            [
                weights_sha256(self.directory),
                config_sha256(self.directory / "config.json"),
                tokenizer_sha256(self.directory / "tokenizer.json"),
            ]
        )


@dataclass(frozen=True)
class Benchmark:
    """A grid with everything it names read from the disk.

    Attributes:
        grid: The grid.
        grid_file: Where it was read.
        data: What ${DATA} stands for.
        places: Backbones by their name in the grid.
        datasets: Data sets in the grid's order.
        cells: All runs in their order.
    """

    grid: GridSpec
    grid_file: Path
    data: Path | None
    places: Mapping[str, BackbonePlace]
    datasets: tuple[Dataset, ...]
    cells: tuple[Cell, ...]


RunCell = Callable[[Benchmark, Cell], Line]
"""Runs one cell and says how it ended."""

OnCell = Callable[[int, int, Cell, Line | None], None]
"""Called with the number of cells done, of cells to do, a cell, and how it ended: None when it begins."""


def load_benchmark(grid_file: Path, data: Path | None, places: Mapping[str, BackbonePlace]) -> Benchmark:
    """Read a grid and its data sets, and plan its cells.

    Raises:
        PetapterError: A file, a method or an option cannot be used.
    """
    grid = read_grid(grid_file)
    datasets = load_datasets(grid, grid_file, data)
    digests = {name: places[name].digest for name in grid.backbones}
    cells = plan_cells(grid, datasets, digests, library_versions()["petapter"])
    return Benchmark(grid, grid_file, data, places, datasets, tuple(cells))


def run_cells(benchmark: Benchmark, cells: Sequence[Cell], store: Store, run_cell: RunCell, on_cell: OnCell) -> None:
    """Run the cells that the store does not hold as finished; a cell that fails is stored as failed, others go on."""
    finished = store.finished_keys
    waiting = list({cell.key: cell for cell in cells if cell.key not in finished}.values())
    with torch_threads(benchmark.grid.threads):
        for done, cell in enumerate(waiting):
            on_cell(done, len(waiting), cell, None)
            line = run_cell(benchmark, cell)
            store.add(line)
            on_cell(done + 1, len(waiting), cell, line)


class ResidentRunner:
    """Runs cells in this process; the backbone stays in memory from one cell to the next."""

    def __init__(self) -> None:
        """Start without a backbone."""
        self._loaded: tuple[str, Backbone] | None = None

    def __call__(self, benchmark: Benchmark, cell: Cell) -> Line:
        """Run one cell; what a method refuses, and memory that does not suffice, become a failed cell."""
        try:
            return Finished(key=cell.key, result=run_trial(cell, self.backbone(benchmark, cell.backbone)))
        except PetapterError as error:
            return Failed(key=cell.key, error=" ".join(str(error).split()))
        except (MemoryError, torch.OutOfMemoryError) as error:
            return Failed(key=cell.key, error=f"out of memory: {' '.join(str(error).split())[:200]}")

    def backbone(self, benchmark: Benchmark, name: str) -> Backbone:
        """The backbone of that name; the one before it is given up."""
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None
            place = benchmark.places[name]
            self._loaded = (name, Backbone.load(place.directory, repo=place.repo, revision=place.revision))
        return self._loaded[1]


def run_trial(cell: Cell, backbone: Backbone) -> Result:
    """Let the method of a cell learn and answer, and measure its answers.

    Raises:
        PetapterError: The method refuses the rows or the task, or its answer has the wrong form.
    """
    dataset = cell.dataset
    trial = Trial(
        task=cell.task,
        train=cell.sample.rows,
        test=tuple(row.fields for row in dataset.test),
        backbone=backbone,
        seed=cell.seed or 0,
        unlabelled=dataset.unlabelled,
    )
    answer = cell.method(trial)
    figures = measure(answer.log_probabilities, cell.task.label_names, dataset.test)
    rounded = {metric: round(value, _DIGITS) for metric, value in figures.values.items()}
    return Result(
        dataset=dataset.name,
        backbone=cell.backbone,
        method=cell.plan.name,
        n=cell.sample.size,
        sample=cell.sample.index,
        sample_digest=cell.sample.digest,
        seed=cell.seed,
        test_digest=dataset.test_digest,
        test_rows=len(dataset.test),
        accuracy=rounded["accuracy"],
        macro_f1=rounded["macro_f1"],
        ece=rounded["ece"],
        brier=rounded["brier"],
        log_loss=rounded["log_loss"],
        aurc=rounded["aurc"],
        correct=figures.correct,
        train_seconds=round(answer.train_seconds, _DIGITS),
        predict_seconds=round(answer.predict_seconds, _DIGITS),
        module_bytes=answer.module_bytes,
        steps=answer.steps,
        details=dict(answer.details),
        versions=library_versions(),
        hardware=hardware(backbone.device),
        threads=torch.get_num_threads(),
    )
