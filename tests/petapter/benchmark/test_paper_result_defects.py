"""What goes wrong around the published code of PETapter, in its scripts and result files: here each is handled.

Its data, words, patterns and training are in `tests/petapter/training/test_paper_defects.py`. Tested elsewhere:
finished runs are skipped (`test_running.py`), lists of options that the documents promise are carried out
(`test_grid.py`), methods and options that do not exist are refused before anything runs
(`tests/hub_client/test_benchmark.py`), and what the README says works (`tests/repo/test_readme.py`).
"""

import json
import re
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest

from petapter import Backbone, Engine, ModuleInfo, TrainedModule, open_module, save_module, train
from petapter.benchmark.cells import Cell
from petapter.benchmark.results import RESULTS_FILE, Finished, Result, open_store, read_foreign, read_results
from petapter.benchmark.running import Benchmark, ResidentRunner, load_benchmark
from petapter.training import TrainingOptions
from petapter_schemas.manifest import MANIFEST_FILE
from tests.petapter.benchmark.conftest import LoadGrid, run_all
from tests.petapter.benchmark.test_report import reported, section
from tests.petapter.conftest import SENTIMENT_ROWS, TOPIC_ROWS

ROOT = Path(__file__).parents[3]
ONE_RUN = {"methods": "[{method: module, rank: 2, steps: 2}]", "more": "n: [4]\nsamples: 1\nseeds: 1\n"}


def result_of(benchmark: Benchmark, cell: Cell) -> Result:
    line = ResidentRunner()(benchmark, cell)
    assert isinstance(line, Finished)
    return line.result


# Files


def test_other_files_and_folders_among_the_results_change_nothing(load_grid: LoadGrid, tmp_path: Path) -> None:
    """Defect: `find_experiments` takes every entry for a folder, recurses into files and crashes."""
    benchmark, out = load_grid(**ONE_RUN), tmp_path / "out"
    run_all(benchmark, out)
    before = read_results(out)
    (out / "notes.txt").write_text("mine")
    for folder in ("older.jsonl", "run1"):
        (out / folder).mkdir()
        (out / folder / RESULTS_FILE).write_text("no JSON")
    assert read_results(out) == before
    assert read_foreign(out) == []
    assert run_all(benchmark, out) == []
    assert "2 runs planned, 2 finished" in reported(benchmark, out)


def test_a_module_is_evaluated_under_its_own_name_and_patterns_wherever_it_lies(
    sentiment: TrainedModule, topic: TrainedModule, bert: Backbone, tmp_path: Path
) -> None:
    """Defect: `evaluate_custom_test_set` loads the literal 'model_id' and reads the pattern's name from the path."""
    places = {"mood": tmp_path / "m", "news": tmp_path / "a" / "pattern_0" / "b" / "model_id"}
    for (name, place), module in zip(places.items(), (sentiment, topic), strict=True):
        save_module(module, place, ModuleInfo(name))
    moved = places["mood"].rename(tmp_path / "pattern_9")
    with Engine(bert) as engine:
        engine.load(sentiment, "trained mood")
        engine.load(topic, "trained news")
        engine.load(moved, "mood")
        engine.load(places["news"], "news")
        for name, rows in (("mood", SENTIMENT_ROWS), ("news", TOPIC_ROWS)):
            figures = engine.evaluate(name, rows, name="rows")
            assert figures == engine.evaluate(f"trained {name}", rows, name="rows")
    assert json.loads((moved / MANIFEST_FILE).read_text())["name"] == "mood"
    assert open_module(places["news"], bert).task.patterns == topic.task.patterns


# Runs


def test_test_rows_that_lack_a_label_are_measured_on_the_labels_of_the_task(
    load_grid: LoadGrid, tmp_path: Path
) -> None:
    """Defect: labels are those of the test file, so that one without a class breaks the run or moves the answers."""
    before = load_grid(**ONE_RUN)
    rows = (tmp_path / "test.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join([rows[0], *(row for row in rows if row.endswith(",pos"))]) + "\n")
    benchmark = load_benchmark(before.grid_file, None, before.places)
    assert {row.label for row in benchmark.datasets[0].test} == {"pos"}
    for cell in benchmark.cells:
        assert cell.task.label_names == ("pos", "neg")
        assert 0 <= result_of(benchmark, cell).accuracy <= 1


def test_no_run_depends_on_what_ran_before_it_in_the_process(load_grid: LoadGrid, tmp_path: Path) -> None:
    """Defect: head and adapter are drawn before the seed is set, so run k depends on the runs before it."""
    benchmark = load_grid(methods="[{method: module, rank: 2, steps: 2}]", more="n: [4]\nsamples: 1\nseeds: 2\n")
    run_all(benchmark, tmp_path / "out")
    together = read_results(tmp_path / "out")[0]
    for cell in reversed(benchmark.cells):
        alone = result_of(benchmark, cell)
        assert (alone.correct, alone.log_loss) == (together[cell.key].correct, together[cell.key].log_loss)


def test_test_rows_are_read_in_few_passes_without_padding_and_without_a_gpu(load_grid: LoadGrid) -> None:
    """Defect: one text at a time at length 512, after all of them were moved to the GPU that there has to be."""
    benchmark = load_grid(**ONE_RUN)
    cell = benchmark.cells[0]
    backbone = Backbone.load(benchmark.places["tiny"].directory, device="cpu")
    trained = train(cell.task, cell.sample.rows, backbone, TrainingOptions(rank=2, steps=2))
    passes: list[tuple[int, int]] = []
    devices: set[str] = set()

    def note(_module: object, _args: object, inputs: dict[str, object]) -> None:
        ids = inputs["input_ids"]
        passes.append(tuple(ids.shape))  # type: ignore[attr-defined]
        devices.add(ids.device.type)  # type: ignore[attr-defined]

    with Engine(backbone) as engine:
        engine.load(trained, "m")
        hook = backbone.model.base_model.register_forward_pre_hook(note, with_kwargs=True)
        engine.predict([("m", row.fields) for row in cell.dataset.test])
        hook.remove()
    texts = [row.fields["text"] for row in cell.dataset.test]
    tokens = sum(len(backbone.tokenizer.encode(f"{text} It was [MASK].")) for text in texts)
    assert len(passes) < len(texts) == 20
    assert sum(rows * width for rows, width in passes) == tokens
    assert devices == {"cpu"}


# What is kept


def test_a_result_says_how_good_the_probabilities_were(load_grid: LoadGrid, tmp_path: Path) -> None:
    """Defect: labels alone are saved, no probabilities. Reference: Brier score and log loss from their formulas."""
    benchmark = load_grid(**ONE_RUN)
    run_all(benchmark, tmp_path / "out")
    cell = next(cell for cell in benchmark.cells if cell.plan.method == "module")
    result = read_results(tmp_path / "out")[0][cell.key]
    backbone = ResidentRunner().backbone(benchmark, "tiny")
    trained = train(cell.task, cell.sample.rows, backbone, TrainingOptions(rank=2, steps=2))
    with Engine(backbone) as engine:
        engine.load(trained, "m")
        answers = engine.predict([("m", row.fields) for row in cell.dataset.test])
    given = np.array([[answer.probabilities[name] for name in ("pos", "neg")] for answer in answers])
    right = np.array([[row.label == name for name in ("pos", "neg")] for row in cell.dataset.test])
    assert result.brier == pytest.approx(((given - right) ** 2).sum(axis=1).mean(), abs=1e-5)
    assert result.log_loss == pytest.approx(-np.log(given[right]).mean(), abs=1e-5)
    assert None not in (result.ece, result.aurc)


def test_the_report_says_what_all_runs_say_together(load_grid: LoadGrid, tmp_path: Path) -> None:
    """Defect: each run leaves a file of scores, and what several runs say is computed later with another program."""
    benchmark = load_grid(methods="[{method: module, rank: 2, steps: 2}]", more="n: [4]\nsamples: 2\nseeds: 3\n")
    out, any_result = tmp_path / "out", result_of(benchmark, benchmark.cells[0])
    with open_store(out) as store:
        for cell in benchmark.cells:
            accuracy = 0.5 + 0.1 * cell.sample.index + 0.05 * (cell.seed or 0)
            facts = {"sample": cell.sample.index, "seed": cell.seed, "accuracy": accuracy}
            store.add(Finished(key=cell.key, result=any_result.model_copy(update=facts)))
    good = section(reported(benchmark, out), "How good")
    # by hand: means of the samples 0.55 and 0.65; within each 0.5, 0.55, 0.6 above its start
    assert "| module | 0.600 | 0.071 | 0.050 | 0.500 |" in good


# The repository


def test_installed_package_names_its_licence() -> None:
    """Defect: no licence."""
    found = metadata("petapter")
    assert found["License-Expression"] == "Apache-2.0"
    assert set(found.get_all("License-File") or []) == {"LICENSE", "NOTICE"}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["petapter", "schemas", "hub_client", "registry_server"])
def test_every_package_has_tests(package: str) -> None:
    """Defect: no tests."""
    assert list((ROOT / "tests" / package).rglob("test_*.py"))


def test_nothing_installs_without_checking_certificates() -> None:
    """Defect: the Pipfile turns the check of certificates off (`verify_ssl = false`)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    careless = re.compile(r"verify_ssl *=|trusted-host|verify *= *False|CERT_NONE", re.IGNORECASE)
    kinds = {".py", ".toml", ".txt", ".cfg", ".yaml", ".yml", ""}
    texts = [path for path in files if path.is_file() and path.suffix in kinds and path != Path(__file__)]
    assert [path for path in texts if careless.search(path.read_text(encoding="utf-8", errors="replace"))] == []
