from collections.abc import Callable
from pathlib import Path

import pytest

from petapter.benchmark.results import open_store
from petapter.benchmark.running import BackbonePlace, Benchmark, ResidentRunner, load_benchmark, run_cells

LoadGrid = Callable[..., Benchmark]

GOOD, BAD = ("great", "good", "fine", "very good"), ("bad", "awful", "not good", "really bad")
PLACES = ("the game", "a match", "that team", "the ball", "the market", "a bank", "the price", "that book")
METHODS = "[{method: module, rank: 2, steps: [2, 4]}]"


def write_rows(path: Path, first: int, count: int) -> Path:
    """Rows of two labels, all different, from words that the tiny backbones know."""
    texts = [(f"{place} was {word}", label) for place in PLACES for words, label in ((GOOD, "pos"), (BAD, "neg"))
             for word in words]  # fmt: skip
    rows = "".join(f"{text},{label}\n" for text, label in texts[first : first + count])
    path.write_text(f"text,label\n{rows}", encoding="utf-8")
    return path


def write_grid(directory: Path, *, methods: str = METHODS, more: str = "n: [4]\nsamples: 2\nseeds: 2\n") -> Path:
    """A grid of one data set beside its files."""
    write_rows(directory / "train.csv", 0, 40)
    write_rows(directory / "test.csv", 40, 24)
    path = directory / "grid.yaml"
    path.write_text(
        "name: Tiny\nbackbones: [tiny]\nthreads: 1\n"
        f"methods: {methods}\n{more}"
        "datasets:\n  toy:\n    train: train.csv\n    test: test.csv\n    test_rows: 20\n"
        "    task: {labels: {pos: [great, good], neg: [awful, bad]}, patterns: ['{text} It was {mask}.']}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def load_grid(tmp_path: Path, directories: dict[str, Path]) -> LoadGrid:
    """Writes and loads the toy grid on the tiny BERT: `load_grid(methods=…, more=…)`."""

    def load(**parts: str) -> Benchmark:
        places = {"tiny": BackbonePlace(directories["bert"], "tiny")}
        return load_benchmark(write_grid(tmp_path, **parts), None, places)

    return load


def run_all(benchmark: Benchmark, out: Path) -> list[str]:
    """Run what is missing; return the keys that ran."""
    ran: list[str] = []
    with open_store(out) as store:
        run_cells(
            benchmark, benchmark.cells, store, ResidentRunner(),
            lambda _done, _total, cell, line: ran.append(cell.key) if line else None,
        )  # fmt: skip
    return ran
