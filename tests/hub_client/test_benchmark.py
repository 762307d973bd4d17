"""`petapter benchmark` with the real core on a tiny backbone made here."""

import json
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.benchmark_runs import read_only
from petapter_schemas.errors import InputError
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import save_backbone

PLACES = ("film", "food", "love", "great")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("benchmark") / "tiny")


@pytest.fixture
def grid(tmp_path: Path, tiny: Path) -> Path:
    """Two samples of four rows, one method beside the paper's, data below ${DATA}."""
    data = tmp_path / "data"
    data.mkdir()
    words = (("love", "good"), ("hate", "bad"))
    texts = [f"this {place} {index}" for index in range(4) for place in PLACES]
    rows = [(f"i {word} {text}", label) for text in texts for word, label in words]
    for name, part in (("train", rows[:20]), ("test", rows[20:])):
        (data / f"{name}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in part))
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"backbones: ['{tiny}']\nn: [4]\nsamples: 2\nseeds: 1\nthreads: 1\n"
        "methods: [{method: module, rank: 2, steps: 2}]\n"
        "datasets: {reviews: {train: '${DATA}/train.csv', test: '${DATA}/test.csv', "
        "task: {labels: {good: good, bad: [bad, awful]}, patterns: ['{text} it was {mask} .']}}}\n"
    )
    return path


def test_benchmark_runs_reports_and_goes_on(petapter: Petapter, grid: Path, tmp_path: Path) -> None:
    arguments = ("benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out", "--json")
    part: Any = petapter(*arguments, "--only", "method=module,sample=0")
    assert part.code == 0, part.err
    assert json.loads(part.out) == {
        "report": str(tmp_path / "out" / "report.md"), "planned": 4, "finished": 1, "failed": 0, "not run": 3,
    }  # fmt: skip
    rest = petapter(*arguments)
    assert rest.code == 0, rest.err
    assert json.loads(rest.out)["finished"] == 4
    assert "3/3 reviews n=4 sample 1, paper, seed 0: accuracy " in rest.err
    again = petapter(*arguments)
    assert again.err == ""
    assert (tmp_path / "out" / "accuracy.png").is_file()


def test_results_that_moved_are_gone_on_with_and_the_report_names_no_place_of_the_data(
    petapter: Petapter, grid: Path, tmp_path: Path
) -> None:
    first: Any = petapter("benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert first.code == 0, first.err
    (tmp_path / "data").rename(tmp_path / "corpora")
    (tmp_path / "out").rename(tmp_path / "kept")
    before = (tmp_path / "kept" / "results.jsonl").read_bytes()
    again: Any = petapter("benchmark", grid, "--data", tmp_path / "corpora", "--out", tmp_path / "kept", "--json")
    assert (again.code, again.err, again.json["finished"]) == (0, "", 4)
    assert (tmp_path / "kept" / "results.jsonl").read_bytes() == before
    report = (tmp_path / "kept" / "report.md").read_text()
    assert report.endswith(f"    petapter benchmark {grid} --out {tmp_path / 'kept'} --data DIR\n")
    assert "corpora" not in report


def test_report_alone_runs_nothing(petapter: Petapter, grid: Path, tmp_path: Path) -> None:
    ran: Any = petapter(
        "benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out", "--report-only", "--json"
    )
    assert (ran.code, ran.json["finished"], ran.json["not run"]) == (0, 0, 4)
    assert not (tmp_path / "out" / "results.jsonl").exists()
    assert "4 runs planned, 0 finished" in (tmp_path / "out" / "report.md").read_text()


def test_samples_are_exported_and_nothing_runs(petapter: Petapter, grid: Path, tmp_path: Path) -> None:
    ran = petapter("benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out",
                   "--export-samples", tmp_path / "rows")  # fmt: skip
    assert ran.code == 0, ran.err
    assert (tmp_path / "rows" / "reviews" / "n4" / "sample1.csv").read_text().startswith("text,label\n")
    assert not (tmp_path / "out").exists()


def test_failed_runs_end_in_an_error_after_the_report(petapter: Petapter, grid: Path, tmp_path: Path) -> None:
    grid.write_text(grid.read_text().replace("steps: 2", "steps: 4, adapter_lr: 1e30, head_lr: 1e30"))
    ran = petapter("benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert "2 of 4 runs failed" in ran.error
    assert "warning: reviews n=4 sample 0, module, seed 0: training diverged" in ran.err
    assert "2 finished, 2 failed" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("module, rank", "modul, rank", "method 'modul' of the grid: there is no method 'modul'"),
        ("steps: 2", "stpes: 2", "method 'module' of the grid: there is no option 'stpes'"),
        ("n: [4]", "n: [400]", "data set 'reviews': label 'good' has 10 different rows, 2 samples of 400 need 400"),
        ("n: [4]", "n: [1, 4]", "data set 'reviews': n=1 is less than the 2 labels"),
        ("samples: 2", "samples: none", "grid.yaml: samples: "),
    ],
)
def test_bad_grid_is_one_line_and_runs_nothing(
    petapter: Petapter, grid: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    grid.write_text(grid.read_text().replace(old, new))
    assert message in petapter("benchmark", grid, "--data", tmp_path / "data", "--out", tmp_path / "out").error
    assert not (tmp_path / "out").exists()


def test_missing_data_directory_is_asked_for(petapter: Petapter, grid: Path, tmp_path: Path) -> None:
    assert "--data DIR" in petapter("benchmark", grid, "--out", tmp_path / "out").error


def test_only_reads_alternatives_and_conditions() -> None:
    assert read_only(["method=a,method=b", "n=10"]) == {"method": frozenset({"a", "b"}), "n": frozenset({"10"})}
    assert read_only([]) == {}


@pytest.mark.parametrize("text", ["method", "=a", "method=", ""])
def test_bad_only_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="is no AXIS=VALUE"):
        read_only([text])
