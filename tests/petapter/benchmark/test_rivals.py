import json
from pathlib import Path

import pytest

from petapter.benchmark.results import RESULTS_FILE, Result
from petapter.benchmark.rivals import Contest, Count, contests, tallies
from petapter.benchmark.statistics import by_place
from petapter.benchmark.tables import rival_table, tally_table
from tests.petapter.benchmark.conftest import LoadGrid, run_all
from tests.petapter.benchmark.test_report import ACCURACIES, reported, runs, section, without_seeds

COSTS = {"train_seconds": 2.0, "module_bytes": 100, "details": {"train_cpu_seconds": 6.0}}
MORE = {"train_seconds": 8.0, "module_bytes": 400, "details": {"train_cpu_seconds": 12.0}, "peak_memory_bytes": 5}


def held(results: list[Result], *rivals: str) -> list[Contest]:
    return contests(by_place(results), "ours", rivals)


def one_seed_against_two() -> Contest:
    """Two seeds on three samples against one seed on four."""
    theirs = runs("setfit", [[0.75], [0.6], [0.7], [0.1]], **MORE)
    (contest,) = held([*runs("ours", ACCURACIES["ours"], **COSTS), *theirs], "setfit")
    return contest


def three_data_sets() -> list[Result]:
    """A gain of 10 points on a, a loss of 10 on b, and one of each on c."""
    figures = {
        "a": ([0.9, 0.9], [0.8, 0.8], 2.0),
        "b": ([0.5, 0.5], [0.6, 0.6], 0.5),
        "c": ([0.7, 0.5], [0.6] * 2, 1.0),
    }
    return [
        result.model_copy(update={"dataset": name, "train_seconds": seconds})
        for name, (ours, theirs, ratio) in figures.items()
        for method, values, seconds in (("ours", ours, ratio), ("lr", theirs, 1.0))
        for result in without_seeds(method, values)
    ]


def test_a_contest_is_over_the_common_samples_and_the_means_over_seeds() -> None:
    """By hand: 0.85 - 0.75, 0.65 - 0.6, 0.7 - 0.7; t with 2 degrees of freedom is 4.302653, times 0.05 / sqrt 3."""
    contest = one_seed_against_two()
    assert contest.difference == pytest.approx(0.05)
    assert contest.interval is not None
    assert (contest.interval.low, contest.interval.high) == pytest.approx((-0.074207, 0.174207), abs=1e-6)
    assert (contest.ours.samples, contest.ours.runs, contest.theirs.samples, contest.theirs.runs) == (3, 6, 3, 3)


def test_a_contest_holds_both_spreads_of_both() -> None:
    """By hand: means 0.85, 0.65, 0.7 and 0.75, 0.6, 0.7; variances within samples 0.005, 0.005, 0."""
    contest = one_seed_against_two()
    assert contest.ours.sd_samples == pytest.approx(0.104083, abs=1e-6)
    assert contest.theirs.sd_samples == pytest.approx(0.076376, abs=1e-6)
    assert (contest.ours.sd_seeds, contest.theirs.sd_seeds) == (pytest.approx(0.057735, abs=1e-6), None)
    assert (contest.is_larger("sd_samples"), contest.is_larger("sd_seeds")) == (True, None)


def test_costs_are_told_as_ratios_where_both_were_measured() -> None:
    contest = one_seed_against_two()
    assert contest.ratio("train_seconds") == pytest.approx(0.25)
    assert contest.ratio("train_cpu_seconds") == pytest.approx(0.5)
    assert contest.ratio("module_bytes") == pytest.approx(0.25)
    assert contest.ratio("peak_memory_bytes") is None


def test_a_contest_is_one_line_in_points() -> None:
    assert rival_table([one_seed_against_two()]).splitlines()[2] == (
        "| d | setfit | 73.33 / 68.33 | +5.00 | -7.42 to +17.42 | 10.41 / 7.64 | 5.77 / - | 0.25x | 0.5x | 0.25x | - "
        "| 3 | 6 / 3 |"
    )


def test_one_common_sample_has_a_difference_and_no_interval() -> None:
    (contest,) = held([*runs("ours", ACCURACIES["ours"]), *runs("lr", [[0.5]])], "lr")
    assert (contest.difference, contest.interval) == (0.35, None)
    (tally,) = tallies([contest])
    assert (tally.higher, tally.above, tally.below) == (1, 0, 0)


def test_without_a_common_sample_there_is_no_contest() -> None:
    later = [result.model_copy(update={"sample": 7}) for result in runs("lr", [[0.5]])]
    assert held([*runs("ours", ACCURACIES["ours"]), *later], "lr", "nobody") == []


def test_losses_are_counted_as_wins_are() -> None:
    (tally,) = tallies(held(three_data_sets(), "lr"))
    assert (tally.data_sets, tally.higher, tally.lower, tally.above, tally.below) == (3, 1, 1, 1, 1)
    assert tally.mean == pytest.approx(0)
    assert (tally.worst.difference, tally.worst.place.dataset) == (-0.1, "b")
    assert (tally.larger_sd_samples, tally.larger_sd_seeds) == (Count(1, 3), Count(0, 0))
    assert tally.train_ratio == pytest.approx(1)  # of 2, 0.5 and 1
    assert tally.cpu_ratio is None


def test_a_tally_is_one_line() -> None:
    shown = tally_table(tallies(held(three_data_sets(), "lr"))).splitlines()[2]
    assert shown == "|  | 4 | lr | 3 | 1 | 1 | 1 | 1 | +0.00 | -10.00 (b) | 1 of 3 | - | 1x | - |"


def test_sizes_and_rivals_are_tallied_apart() -> None:
    both = [*runs("ours", ACCURACIES["ours"]), *runs("paper", ACCURACIES["paper"]), *runs("lr", ACCURACIES["paper"])]
    larger = [result.model_copy(update={"n": 100}) for result in both]
    assert [(tally.n, tally.rival) for tally in tallies(held([*both, *larger], "paper", "lr"))] == [
        (4, "paper"), (4, "lr"), (100, "paper"), (100, "lr"),
    ]  # fmt: skip


SUBJECT = "n: [4]\nsamples: 2\nseeds: 2\nsubject: module steps=2\nrivals: [paper, setfit, nobody]\n"


def test_the_report_begins_with_the_subject_against_its_rivals(load_grid: LoadGrid, tmp_path: Path) -> None:
    """The other program has one seed, and counts its samples the other way round; digests say which are which."""
    benchmark, out = load_grid(more=SUBJECT), tmp_path / "out"
    run_all(benchmark, out)
    ours = [json.loads(line)["result"] for line in (out / RESULTS_FILE).read_text().splitlines()]
    accuracies = {0: 0.25, 1: 0.75}
    theirs = [
        item | {"method": "setfit", "sample": 1 - item["sample"], "accuracy": accuracies[item["sample"]]}
        for item in ours if item["method"] == "paper" and item["seed"] == 0
    ]  # fmt: skip
    (out / "setfit.jsonl").write_text("\n".join(json.dumps(item) for item in theirs))
    report = reported(benchmark, out)
    titles = [line for line in report.splitlines() if line.startswith("## ")]
    assert titles[:2] == ["## module steps=2 against its rivals", "## How good"]
    mine = [item for item in ours if item["method"] == "module steps=2"]
    means = [sum(item["accuracy"] for item in mine if item["sample"] == sample) / 2 for sample in (0, 1)]
    (contest,) = contests(by_place([Result.model_validate(item) for item in [*mine, *_in_order(theirs)]]),
                          "module steps=2", ["setfit"])  # fmt: skip
    assert contest.difference == pytest.approx((means[0] + means[1]) / 2 - 0.5)
    told = section(report, "module steps=2 against its rivals")
    assert rival_table([contest]).splitlines()[2] in told
    assert "| toy | paper |" in told
    assert told.rstrip().endswith("Not told, without a sample that both ran on: `nobody` at n=4, tiny (all data sets).")


def _in_order(theirs: list[dict[str, object]]) -> list[dict[str, object]]:
    return [item | {"sample": 1 - int(str(item["sample"]))} for item in theirs]


def test_without_a_subject_the_report_has_no_such_section(load_grid: LoadGrid, tmp_path: Path) -> None:
    report = reported(load_grid(), tmp_path / "out")
    assert "against its rivals" not in report
