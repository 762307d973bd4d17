import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from petapter.benchmark.report import ACCURACY_PLOT, DIFFERENCE_PLOT, Reported, write_report
from petapter.benchmark.results import RESULTS_FILE, Failed, Result, open_store, read_foreign, read_results
from petapter.benchmark.running import Benchmark
from petapter.benchmark.statistics import compare, summarise
from petapter.benchmark.tables import cost_table, size_text, table
from tests.petapter.benchmark.conftest import LoadGrid, run_all
from tests.petapter.benchmark.test_results import FACTS

ACCURACIES = {"ours": [[0.8, 0.9], [0.6, 0.7], [0.7, 0.7]], "paper": [[0.5, 0.7], [0.6, 0.6], [0.4, 0.5]]}


def runs(method: str, accuracies: list[list[float]], **more: object) -> list[Result]:
    return [
        Result.model_validate(
            FACTS | {"method": method, "sample": sample, "seed": seed, "accuracy": value, "macro_f1": value / 2} | more
        )
        for sample, values in enumerate(accuracies)
        for seed, value in enumerate(values)
    ]


def without_seeds(method: str, accuracies: list[float]) -> list[Result]:
    return [result.model_copy(update={"seed": None}) for result in runs(method, [[value] for value in accuracies])]


def test_the_two_spreads_are_kept_apart() -> None:
    """Reference: the formulas written with numpy on the matrix [samples, seeds]."""
    values = np.array(ACCURACIES["ours"])
    summary = summarise("ours", runs("ours", ACCURACIES["ours"]))
    assert summary.accuracy == pytest.approx(values.mean())
    assert summary.sd_samples == pytest.approx(np.std([0.85, 0.65, 0.7], ddof=1))
    assert summary.sd_seeds == pytest.approx(np.sqrt((0.005 + 0.005 + 0) / 3))
    assert (summary.lowest, summary.samples, summary.runs) == (0.6, 3, 6)
    assert summary.macro_f1 == pytest.approx(values.mean() / 2)


def test_seconds_and_bytes_are_summarised() -> None:
    results = [
        *runs("m", [[0.5]], train_seconds=1.0, predict_seconds=0.1, module_bytes=10),
        *runs("m", [[0.5]], train_seconds=3.0, predict_seconds=0.3, module_bytes=30),
        *runs("m", [[0.5]], train_seconds=9.0, predict_seconds=0.2, module_bytes=20),
    ]
    summary = summarise("m", results)
    assert summary.train_seconds == pytest.approx(3.0)
    assert summary.predict_seconds_per_1000 == pytest.approx(20.0)
    assert (summary.module_bytes, summary.peak_memory_bytes, summary.ece) == (30, None, None)


def test_the_processors_seconds_stand_beside_those_of_the_clock() -> None:
    ours = [*runs("m", [[0.5, 0.5]], train_seconds=2.0), *runs("m", [[0.5]], details={"train_cpu_seconds": 3})]
    others = [*runs("paper", [[0.5]], details={"train_cpu_seconds": 12.0}), *runs("lr", [[0.5]], train_seconds=9.0)]
    summaries = [summarise(name, [item for item in [*ours, *others] if item.method == name])
                 for name in ("m", "paper", "lr")]  # fmt: skip
    rows = [line.split(" | ")[:3] for line in cost_table(summaries, "paper").splitlines()[2:]]
    assert rows == [
        ["| paper", "1.00 s (1x)", "12.00 s (1x)"], ["| m", "2.00 s (2x)", "3.00 s (0.25x)"],
        ["| lr", "9.00 s (9x)", "-"],
    ]  # fmt: skip


def test_differences_are_paired_by_sample() -> None:
    """Reference: scipy's paired t interval over the means of the samples, here of runs paired by seed."""
    compared = compare("ours", runs("ours", ACCURACIES["ours"])[::-1], runs("paper", ACCURACIES["paper"]))
    assert compared is not None
    means = (np.array(ACCURACIES["ours"]) - np.array(ACCURACIES["paper"])).mean(axis=1)
    low, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert compared.accuracy.mean == pytest.approx(means.mean())
    assert (compared.accuracy.t_interval.low, compared.accuracy.t_interval.high) == pytest.approx((low, high))
    assert compared.macro_f1.mean == pytest.approx(means.mean() / 2)


def test_a_method_without_seeds_is_compared_with_the_mean_over_seeds() -> None:
    compared = compare("lr", without_seeds("lr", [0.5, 0.6, 0.7]), runs("paper", ACCURACIES["paper"]))
    assert compared is not None
    assert (compared.accuracy.samples, compared.runs) == (3, (3, 6))
    assert compared.accuracy.mean == pytest.approx(0.6 - np.mean(ACCURACIES["paper"]))


def test_seeds_that_only_one_has_count_in_its_mean_and_samples_that_only_one_has_do_not() -> None:
    """By hand: 0.85 - 0.5 and 0.65 - 0.5; t with one degree of freedom is 12.7062, the standard error 0.1."""
    compared = compare("ours", runs("ours", ACCURACIES["ours"]), runs("paper", [[0.5], [0.5]]))
    assert compared is not None
    assert (compared.accuracy.samples, compared.runs) == (2, (4, 2))
    assert compared.accuracy.mean == pytest.approx(0.25)
    assert compared.accuracy.t_interval.high == pytest.approx(0.25 + 1.27062, abs=1e-5)


def test_one_sample_is_not_compared() -> None:
    assert compare("ours", runs("ours", [[0.9, 0.9]]), runs("paper", [[0.5, 0.5]])) is None


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [([0.9, 0.91, 0.92], "better"), ([0.1, 0.11, 0.12], "worse"), ([0.3, 0.9, 0.5], "not told apart")],
)
def test_verdict_is_symmetric(ours: list[float], verdict: str) -> None:
    compared = compare("ours", without_seeds("ours", ours), without_seeds("paper", [0.5, 0.5, 0.5]))
    assert compared is not None
    assert compared.verdict == verdict


def test_a_gain_that_only_the_bootstrap_sees_is_no_verdict() -> None:
    compared = compare("ours", without_seeds("ours", [0.51, 0.9, 0.52]), without_seeds("paper", [0.5, 0.5, 0.5]))
    assert compared is not None
    assert compared.accuracy.interval.low > 0 > compared.accuracy.t_interval.low
    assert compared.verdict == "not told apart"


def test_bars_in_names_do_not_break_a_table() -> None:
    assert table(("a", "b"), [("x|y", 1)]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


@pytest.mark.parametrize(("size", "text"), [(None, "-"), (999, "999 B"), (20_500, "20.5 kB"), (2e9, "2.00 GB")])
def test_sizes_are_decimal(size: int | None, text: str) -> None:
    assert size_text(size) == text


def reported(benchmark: Benchmark, out: Path) -> str:
    finished, failed = read_results(out)
    facts = Reported(benchmark, finished, failed, read_foreign(out), "petapter benchmark grid.yaml --out out")
    return write_report(facts, out).read_text(encoding="utf-8")


def section(report: str, title: str) -> str:
    return report.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_report_tells_everything(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    run_all(benchmark, out)
    report = reported(benchmark, out)
    assert "12 runs planned, 12 finished, 0 failed, 0 not run yet." in report
    results = read_results(out)[0]
    for name in ("module steps=2", "module steps=4", "paper"):
        mean = np.mean([results[cell.key].accuracy for cell in benchmark.cells if cell.plan.name == name])
        assert f"| {name} | {mean:.3f} |" in section(report, "How good")
        assert f"| {name} |" in section(report, "What it costs")
    assert {line.split(" | ")[0] for line in section(report, "Against paper").splitlines() if "module" in line} == {
        "| module steps=2", "| module steps=4", "| tiny",
    }  # fmt: skip
    for sample in benchmark.datasets[0].samples:
        assert sample.digest in section(report, "Rows")
    assert benchmark.datasets[0].test_digest[:12] in report
    assert "transformers " in section(report, "Machines and versions")
    assert report.endswith("    petapter benchmark grid.yaml --out out\n")


def test_best_accuracy_stands_first_whoever_has_it(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    run_all(benchmark, out)
    good = section(reported(benchmark, out), "How good")
    shown = [float(value) for value in re.findall(r"^\| .+? \| (\d\.\d+) \|", good, flags=re.MULTILINE)]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 3


def test_plots_are_pictures(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(methods="[{method: module, name: cost $5 $, steps: 1}]"), tmp_path / "out"
    run_all(benchmark, out)
    report = reported(benchmark, out)
    for name in (ACCURACY_PLOT, DIFFERENCE_PLOT):
        assert f"({name})" in report
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("L").getcolors() or []) > 10  # not blank


def test_failed_and_missing_runs_are_told(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    with open_store(out) as store:
        store.add(Failed(key=benchmark.cells[0].key, error="it | broke"))
    report = reported(benchmark, out)
    assert "12 runs planned, 0 finished, 1 failed, 11 not run yet." in report
    assert "| toy | 4 | module steps=2 | 1 | it \\| broke |" in report
    assert "Not told: fewer than two samples" in section(report, "Against paper")


def test_results_of_other_programs_stand_beside(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    run_all(benchmark, out)
    ours = [json.loads(line)["result"] for line in (out / RESULTS_FILE).read_text().splitlines()]
    theirs = [item | {"method": "SetFit", "backbone": "its own", "accuracy": 1.0} for item in ours
              if item["method"] == "paper"]  # fmt: skip
    other_rows = theirs[0] | {"sample_digest": "0" * 64}
    (out / "setfit.jsonl").write_text("\n".join(json.dumps(item) for item in [*theirs, other_rows]))
    report = reported(benchmark, out)
    assert "| SetFit (its own) | 1.000 |" in section(report, "How good")
    assert "| SetFit (its own) |" in section(report, "Against paper")
    assert "ran on other rows than these: SetFit on toy, n=4 (1)" in report


def test_other_programs_do_not_mix_with_a_method_of_the_same_name(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    run_all(benchmark, out)
    ours = [json.loads(line)["result"] for line in (out / RESULTS_FILE).read_text().splitlines()]
    theirs = [item | {"accuracy": 1.0} for item in ours if item["method"] == "paper"] * 2  # each line twice
    (out / "other.jsonl").write_text("\n".join(json.dumps(item) for item in theirs))
    rows = section(reported(benchmark, out), "How good").splitlines()
    assert [row for row in rows if row.startswith("| paper (another program) | 1.000 |") and row.endswith("| 2 | 4 |")]
    assert [row for row in rows if row.startswith("| paper |") and "1.000 |" not in row.split(" | ")[1]]


def test_a_renamed_method_keeps_its_results(load_grid: LoadGrid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_all(load_grid(), out)
    renamed = load_grid(methods="[{method: module, name: ours, rank: 2, steps: [2, 4]}]")
    assert run_all(renamed, out) == []
    good = section(reported(renamed, out), "How good")
    assert "| ours steps=2 |" in good
    assert "| module steps=2 |" not in good


def test_report_holds_no_text_of_the_data(load_grid: LoadGrid, tmp_path: Path) -> None:
    benchmark, out = load_grid(), tmp_path / "out"
    run_all(benchmark, out)
    everything = reported(benchmark, out) + (out / RESULTS_FILE).read_text()
    assert not [row.fields["text"] for row in benchmark.datasets[0].test if row.fields["text"] in everything]
