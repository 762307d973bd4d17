# ruff: noqa: PLC0415 (torch is imported when a run starts, not before)
"""One benchmark from a grid file to a report: finds the backbones, runs what is missing, tells what came out."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from petapter_hub_client.backbones import resolve_backbone
from petapter_hub_client.output import OnStep
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.benchmark.cells import Cell
    from petapter.benchmark.results import Line
    from petapter.benchmark.running import Benchmark

Note = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a report was written from.

    Attributes:
        report: The file.
        planned: Runs of the grid.
        finished: Runs with a result.
        errors: One line for each run that failed.
    """

    report: Path
    planned: int
    finished: int
    errors: tuple[str, ...]

    def facts(self) -> dict[str, str | int]:
        """The same by name, to be shown."""
        missing = self.planned - self.finished - len(self.errors)
        return {
            "report": str(self.report),
            "planned": self.planned,
            "finished": self.finished,
            "failed": len(self.errors),
            "not run": missing,
        }


@dataclass(frozen=True)
class BenchmarkRun:
    """Everything that a benchmark needs, named but not yet read.

    Attributes:
        grid: The grid file.
        out: The results directory.
        data: What ${DATA} stands for.
        only: The part to run, by axis.
    """

    grid: Path
    out: Path
    data: Path | None
    only: Mapping[str, frozenset[str]]

    def run(self, on_step: OnStep, note: Note, *, isolate: bool) -> None:
        """Run the cells that are missing; where no terminal shows a bar, each is noted on a line.

        Raises:
            PetapterError: The grid cannot be used, or another run writes to the results.
        """
        from petapter.benchmark.cells import select_cells
        from petapter.benchmark.isolated import run_isolated
        from petapter.benchmark.results import open_store
        from petapter.benchmark.running import ResidentRunner, run_cells
        from petapter.process import settle

        settle()
        loaded = self._load()
        chosen = select_cells(loaded.cells, self.only)
        runner = run_isolated if isolate else ResidentRunner()
        with open_store(self.out) as store:
            run_cells(loaded, chosen, store, runner, _teller(on_step, note))

    def export(self, directory: Path) -> list[Path]:
        """Write samples and test rows as CSV.

        Raises:
            PetapterError: The grid or its data cannot be used.
        """
        from petapter.benchmark.datasets import load_datasets
        from petapter.benchmark.export import export_samples
        from petapter.benchmark.grid import read_grid

        return export_samples(load_datasets(read_grid(self.grid), self.grid, self.data), directory)

    def report(self) -> Outcome:
        """Write the report from what is in the results directory.

        Raises:
            PetapterError: The grid cannot be used, or a line of the results is damaged.
        """
        from petapter.benchmark.report import Reported, write_report
        from petapter.benchmark.results import read_foreign, read_results

        loaded = self._load()
        finished, failed = read_results(self.out)
        path = write_report(Reported(loaded, finished, failed, read_foreign(self.out), self._command()), self.out)
        errors = tuple(f"{cell.words}: {failed[cell.key]}" for cell in loaded.cells if cell.key in failed)
        done = sum(cell.key in finished for cell in loaded.cells)
        return Outcome(path, len(loaded.cells), done, errors)

    def _load(self) -> "Benchmark":
        from petapter.benchmark.grid import read_grid
        from petapter.benchmark.running import BackbonePlace, load_benchmark

        found = {name: resolve_backbone(name) for name in read_grid(self.grid).backbones}
        places = {name: BackbonePlace(item.directory, item.repo, item.revision) for name, item in found.items()}
        return load_benchmark(self.grid, self.data, places)

    def _command(self) -> str:
        """The command as it was given, but for the data, which lie elsewhere on every machine."""
        data = [] if self.data is None else ["--data", "DIR"]
        return shlex.join(["petapter", "benchmark", str(self.grid), "--out", str(self.out), *data])


def read_only(texts: Sequence[str]) -> dict[str, frozenset[str]]:
    """Read `axis=value` pairs, several in a text parted by commas; values of one axis are alternatives.

    Raises:
        InputError: A part is no such pair.
    """
    found: dict[str, frozenset[str]] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        axis, equals, value = part.partition("=")
        if not axis or not equals or not value:
            raise InputError(f"--only {part!r} is no AXIS=VALUE: write for example --only method=paper,n=10")
        found[axis] = found.get(axis, frozenset()) | {value}
    return found


def _teller(on_step: OnStep, note: Note) -> "Callable[[int, int, Cell, Line | None], None]":
    has_bar = sys.stderr.isatty()

    def tell(done: int, total: int, cell: "Cell", line: "Line | None") -> None:
        on_step(done, total, cell.words)
        if line is not None and not has_bar:
            note(f"{done}/{total} {cell.words}: {line.words}")

    return tell
