import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from petapter import Engine, train
from petapter.benchmark.cells import select_cells
from petapter.benchmark.isolated import run_isolated
from petapter.benchmark.machine import peak_memory_bytes
from petapter.benchmark.methods import method_names, resolve_method
from petapter.benchmark.results import RESULTS_FILE, Failed, Finished, open_store, read_results, unpack_bits
from petapter.benchmark.running import Benchmark, ResidentRunner, load_benchmark, run_cells
from petapter.task import rows_digest
from petapter.training import TrainingOptions
from petapter_schemas.errors import InputError
from tests.petapter.benchmark.conftest import LoadGrid, run_all, write_rows


def test_cells_are_the_product_with_the_paper_beside(load_grid: LoadGrid) -> None:
    cells = load_grid().cells
    assert Counter(cell.plan.name for cell in cells) == {"module steps=2": 4, "module steps=4": 4, "paper": 4}
    assert len({cell.key for cell in cells}) == 12
    assert [cell.words for cell in cells[:3]] == [
        "toy n=4 sample 0, module steps=2, seed 0",
        "toy n=4 sample 0, module steps=2, seed 1",
        "toy n=4 sample 0, module steps=4, seed 0",
    ]


def test_small_samples_run_before_large_ones(load_grid: LoadGrid) -> None:
    cells = load_grid(more="n: [8, 4]\nsamples: 2\nseeds: 1\n").cells
    assert [cell.sample.size for cell in cells] == [4] * 6 + [8] * 6


@pytest.mark.parametrize(
    "changed",
    [
        {"methods": "[{method: module, rank: 3, steps: [2, 4]}]"},
        {"methods": "[{method: module, rank: 2, steps: [2, 4], words: 1}]"},
        {"more": "n: [6]\nsamples: 2\nseeds: 2\n"},
        {"more": "n: [4]\nsamples: 2\nseeds: 2\nsalt: other\n"},
    ],
)
def test_what_decides_a_result_changes_its_key(load_grid: LoadGrid, changed: dict[str, str]) -> None:
    before = {cell.key for cell in load_grid().cells if cell.plan.method == "module"}
    assert not before & {cell.key for cell in load_grid(**changed).cells if cell.plan.method == "module"}


def test_what_does_not_decide_a_result_leaves_its_key(load_grid: LoadGrid) -> None:
    before = {cell.key for cell in load_grid().cells}
    more = load_grid(methods="[{method: module, name: other, rank: 2, steps: [2, 4]}]",
                     more="n: [4]\nsamples: 2\nseeds: 3\nsubject: paper\nrivals: [setfit]\n")  # fmt: skip
    assert before <= {cell.key for cell in more.cells}


def test_changed_test_rows_change_every_key(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark = load_grid()
    before = {cell.key for cell in benchmark.cells}
    rows = (tmp_path / "test.csv").read_text().splitlines()
    grid = benchmark.grid_file.read_text().replace("test.csv", "other.csv")
    (tmp_path / "other.csv").write_text("\n".join(rows[:-3]) + "\n")
    benchmark.grid_file.write_text(grid)
    assert not before & {cell.key for cell in load_benchmark(benchmark.grid_file, None, benchmark.places).cells}


def test_result_is_what_training_and_engine_give(load_grid: LoadGrid, tmp_path: Path) -> None:
    """The reference: the same rows and options through the public API, counted by hand."""
    benchmark = load_grid()
    run_all(benchmark, tmp_path / "out")
    cell = next(cell for cell in benchmark.cells if cell.plan.name == "module steps=4" and cell.seed == 1)
    result = read_results(tmp_path / "out")[0][cell.key]
    backbone = ResidentRunner().backbone(benchmark, "tiny")
    trained = train(cell.task, cell.sample.rows, backbone, TrainingOptions(rank=2, steps=4, seed=1))
    with Engine(backbone) as engine:
        engine.load(trained, "m")
        answers = engine.predict([("m", row.fields) for row in cell.dataset.test])
    right = [answer.label == row.label for answer, row in zip(answers, cell.dataset.test, strict=True)]
    assert result.accuracy == pytest.approx(sum(right) / len(right))
    assert unpack_bits(result.correct or "", 20).tolist() == right
    assert (result.n, result.sample, result.seed, result.steps, result.threads) == (4, 0, 1, 4, 1)
    assert result.sample_digest == rows_digest(cell.sample.rows)
    assert result.module_bytes is not None
    assert result.module_bytes > 1000
    assert result.peak_memory_bytes is None
    assert result.versions["torch"] == version("torch")


def test_finished_cells_are_skipped(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark = load_grid()
    first = run_all(benchmark, tmp_path / "out")
    before = (tmp_path / "out" / RESULTS_FILE).read_bytes()
    assert len(first) == len(benchmark.cells)
    assert run_all(benchmark, tmp_path / "out") == []
    assert (tmp_path / "out" / RESULTS_FILE).read_bytes() == before


def test_only_a_part_runs(load_grid: LoadGrid) -> None:
    cells = load_grid().cells
    chosen = select_cells(cells, {"method": frozenset({"paper"}), "seed": frozenset({"1"})})
    assert {(cell.plan.name, cell.seed) for cell in chosen} == {("paper", 1)}


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ({"colour": frozenset({"red"})}, "choose among dataset, backbone"),
        ({"n": frozenset({"5"})}, "the grid has no n '5' \\(it has: 4\\)"),
    ],
)
def test_a_part_that_is_not_there_is_refused(
    load_grid: LoadGrid, only: dict[str, frozenset[str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        select_cells(load_grid().cells, only)


def test_a_method_sees_no_test_label_and_leaves_the_seed_to_the_grid(load_grid: LoadGrid) -> None:
    cell = load_grid().cells[0]
    assert not any("label" in text for text in (row.fields for row in cell.dataset.test))
    with pytest.raises(InputError, match="there is no option 'seed'"):
        resolve_method("module", {"seed": 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("modul", {}, "there is no method 'modul': choose among "),
        ("module", {"rnak": 3}, "there is no option 'rnak': choose among rank, "),
        ("module", {"steps": "many"}, "option 'steps': "),
        ("module", {"batch_size": 0}, "batch size 1 or more"),
        ("paper", {"rnak": 1}, "rnak"),
    ],
)
def test_bad_option_of_a_method_is_one_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_method(name, options)
    assert "\n" not in str(caught.value)


def test_a_failing_cell_is_recorded_and_the_others_go_on(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark = load_grid(methods="[{method: module, steps: 2, adapter_lr: [1e30, 1e-3]}]")
    run_all(benchmark, tmp_path / "out")
    finished, failed = read_results(tmp_path / "out")
    broken = [cell for cell in benchmark.cells if cell.plan.name == "module adapter_lr=1e+30"]
    assert set(failed) == {cell.key for cell in broken}
    assert all("diverged" in error for error in failed.values())
    assert len(finished) == len(benchmark.cells) - len(broken)
    assert sorted(run_all(benchmark, tmp_path / "out")) == sorted(failed)


def test_a_stopped_run_goes_on_where_it_was(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark = load_grid()
    runner = ResidentRunner()

    def interrupted(loaded: Benchmark, cell: object) -> Finished | Failed:
        if cell is benchmark.cells[5]:
            raise KeyboardInterrupt
        return runner(loaded, cell)  # type: ignore[arg-type]

    with open_store(tmp_path / "out") as store, pytest.raises(KeyboardInterrupt):
        run_cells(benchmark, benchmark.cells, store, interrupted, lambda *_: None)
    assert run_all(benchmark, tmp_path / "out") == [cell.key for cell in benchmark.cells[5:]]


_RUN = """
import sys
from pathlib import Path
from petapter.benchmark.running import BackbonePlace, load_benchmark
from tests.petapter.benchmark.conftest import run_all
grid, bert, out = map(Path, sys.argv[1:])
run_all(load_benchmark(grid, None, {"tiny": BackbonePlace(bert, "tiny")}), out)
"""


@pytest.mark.slow
def test_a_killed_run_loses_one_cell_at_most(load_grid: LoadGrid, tmp_path: Path, directories: dict[str, Path]) -> None:
    benchmark, out = load_grid(methods="[{method: module, rank: 2, steps: 40}]"), tmp_path / "out"
    command = [sys.executable, "-c", _RUN, str(benchmark.grid_file), str(directories["bert"]), str(out)]
    running = subprocess.Popen(command, cwd=Path(__file__).parents[3], env=os.environ | {"PYTHONPATH": "."})
    path = out / RESULTS_FILE
    deadline = time.monotonic() + 120
    while not (path.is_file() and path.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = set(read_results(out)[0])
    assert 2 <= len(done) < len(benchmark.cells)
    assert set(run_all(benchmark, out)) == {cell.key for cell in benchmark.cells} - done
    assert len(read_results(out)[0]) == len(benchmark.cells)


@pytest.mark.slow
def test_an_isolated_cell_gives_the_same_figures_and_its_own_memory(load_grid: LoadGrid) -> None:
    benchmark = load_grid(methods="[{method: module, rank: 2, steps: 2, adapter_lr: [1e30, 1e-3]}]")
    cell = next(cell for cell in benchmark.cells if cell.plan.name == "module adapter_lr=0.001")
    here = ResidentRunner()(benchmark, cell)
    ballast = np.ones(100_000_000)  # 800 MB that the other process must not be charged with
    alone = run_isolated(benchmark, cell)
    assert ballast.nbytes < peak_memory_bytes()
    assert isinstance(alone, Finished)
    assert isinstance(here, Finished)
    assert (alone.result.accuracy, alone.result.correct) == (here.result.accuracy, here.result.correct)
    assert alone.result.peak_memory_bytes is not None
    assert 100_000_000 < alone.result.peak_memory_bytes < ballast.nbytes  # torch alone has more than the former
    broken = run_isolated(benchmark, benchmark.cells[0])
    assert isinstance(broken, Failed)
    assert "diverged" in broken.error


@pytest.mark.slow
def test_a_cell_whose_data_changed_meanwhile_is_a_failed_cell(load_grid: LoadGrid) -> None:
    benchmark = load_grid()
    benchmark.grid_file.write_text(benchmark.grid_file.read_text().replace("test_rows: 20", "test_rows: 19"))
    line = run_isolated(benchmark, benchmark.cells[0])
    assert isinstance(line, Failed)
    assert "changed while it ran" in line.error


def test_an_isolated_cell_that_dies_is_a_failed_cell(load_grid: LoadGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load_grid()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    line = run_isolated(benchmark, benchmark.cells[0])
    assert isinstance(line, Failed)
    assert line.error == "the process of this cell ended with code 1: it said nothing"


def test_training_rows_among_the_test_rows_are_refused(load_grid: LoadGrid, tmp_path: Path) -> None:
    grid = load_grid().grid_file
    write_rows(tmp_path / "test.csv", 38, 24)
    with pytest.raises(InputError, match="2 training rows are also test rows"):
        load_benchmark(grid, None, {})


def test_a_method_without_randomness_runs_once_per_sample(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark = load_grid(methods="[{method: module, rank: 2, steps: 2}, majority]")
    cells = [cell for cell in benchmark.cells if cell.plan.name == "majority"]
    assert [(cell.sample.index, cell.seed) for cell in cells] == [(0, None), (1, None)]
    run_all(benchmark, tmp_path / "out")
    results = read_results(tmp_path / "out")[0]
    gold = Counter(row.label for row in benchmark.datasets[0].test)
    assert {results[cell.key].accuracy * 20 for cell in cells} <= set(map(float, gold.values()))


def test_every_method_answers_the_toy_task(load_grid: LoadGrid, tmp_path: Path) -> None:
    names = sorted(set(method_names()) - {"paper"})
    benchmark = load_grid(methods=f"[{', '.join(names)}]", more="n: [4]\nsamples: 1\nseeds: 1\n")
    run_all(benchmark, tmp_path / "out")
    finished, failed = read_results(tmp_path / "out")
    assert (len(finished), failed) == (len(names) + 1, {})
