"""The report of a benchmark: one Markdown file with its plots, in which losses stand as plainly as wins."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from petapter.benchmark.cells import Cell
from petapter.benchmark.grid import GridSpec
from petapter.benchmark.plots import draw_accuracies, draw_differences
from petapter.benchmark.results import Result
from petapter.benchmark.rivals import Contest, contests, tallies
from petapter.benchmark.running import Benchmark
from petapter.benchmark.statistics import Compared, Place, Summary, by_place, compare, summarise
from petapter.benchmark.tables import (
    comparison_table,
    cost_table,
    count_text,
    quality_table,
    rival_table,
    table,
    tally_table,
)
from petapter_schemas import strict_json
from petapter_schemas.durable import write_file_durably

REPORT_FILE = "report.md"
ACCURACY_PLOT = "accuracy.png"
DIFFERENCE_PLOT = "differences.png"

_SHORT = 12

_QUALITY = """Means over samples of the means over seeds, best accuracy first. The two standard deviations are kept
apart: between samples (which rows were labelled) and between seeds on the same rows. ECE: bins with equally many rows;
Brier: summed over labels; log loss in nats; AURC: area under the risk-coverage curve, lower is better."""

_RIVALS = """`{subject}` against each rival, over the samples that both ran on. Differences and standard deviations are
in points of accuracy (hundredths), `{subject}` / rival where there are two figures. On each sample the mean over the
seeds counts, however many there are; the interval is Student's t over samples. The ratios are what `{subject}` costs by
what the rival costs: below 1x it costs less."""

_RIVALS_OVER_SETS = """Over data sets: won and lost, with the interval off zero or not; the lowest difference of all; on
how many data sets the standard deviation of `{subject}` is the larger one; geometric means of the ratios of seconds."""

_DIFFERENCE = """Differences from `{baseline}`, paired by sample, of each the mean over its seeds. Runs on one sample
are not independent, so both intervals are over samples: a bootstrap that draws samples, which is too narrow with few of
them (with 5, about 83 % of its 95 % intervals cover the truth), and Student's t over the means of the samples. A
verdict needs both on one side of zero. Runs: the method's / those of `{baseline}`."""

_COST = """Seconds are medians, training with all search included; the processor's are summed over cores, and other
programs on the machine hardly change them. Bytes and memory are the most of all runs. In brackets the ratio to
`{baseline}`. Memory is the peak of a process that ran this one thing (`--isolate`), backbone and libraries included;
without it, it is not measured."""

_OF_DATA_SETS = 4
_CLAIM = 3


@dataclass(frozen=True)
class Reported:
    """All that a report tells.

    Attributes:
        benchmark: The grid and its data.
        finished: Results of the grid's cells.
        failed: Errors of cells that have no result.
        foreign: Results of other programs.
        command: What makes this report again.
    """

    benchmark: Benchmark
    finished: Mapping[str, Result]
    failed: Mapping[str, str]
    foreign: Sequence[Result]
    command: str


def write_report(reported: Reported, directory: Path) -> Path:
    """Write the report and its plots into a results directory."""
    directory.mkdir(parents=True, exist_ok=True)
    grid = reported.benchmark.grid
    results, left_out = _comparable(reported)
    places = by_place(results)
    summaries = {place: [summarise(name, runs) for name, runs in methods.items()] for place, methods in places.items()}
    differences = {place: _differences(methods, grid.baseline) for place, methods in places.items()}
    plots: list[str] = []
    if summaries:
        draw_accuracies(summaries, grid.subject, directory / ACCURACY_PLOT)
        plots.append(f"![Accuracy of each method]({ACCURACY_PLOT})")
    if any(differences.values()):
        draw_differences(differences, grid.subject, grid.baseline, directory / DIFFERENCE_PLOT)
        plots.append(f"![Differences from the baseline]({DIFFERENCE_PLOT})")
    parts = [
        f"# {grid.name}",
        *_completeness(reported, left_out),
        *plots,
        *_against_rivals(places, grid),
        *_quality(summaries),
        *_against_baseline(differences, grid.baseline),
        *_costs(summaries, grid.baseline),
        *_methods(reported.benchmark),
        *_rows(reported.benchmark),
        *_machines(results),
        "## Run it again",
        f"    {reported.command}",
    ]
    path = directory / REPORT_FILE
    write_file_durably(path, ("\n\n".join(parts) + "\n").encode())
    return path


def _comparable(reported: Reported) -> tuple[list[Result], list[Result]]:
    """Results on the grid's rows under the grid's names, in its order, and those of other programs on other rows."""
    cells = reported.benchmark.cells
    kept = [_renamed(reported.finished[cell.key], cell) for cell in cells if cell.key in reported.finished]
    known = {
        (cell.dataset.name, cell.dataset.test_digest, cell.sample.size, cell.sample.digest): cell.sample.index
        for cell in cells
    }
    latest = {
        (item.dataset, item.backbone, item.method, item.n, item.sample_digest, item.seed): item
        for item in reported.foreign
    }
    left_out: list[Result] = []
    for result in latest.values():
        index = known.get((result.dataset, result.test_digest, result.n, result.sample_digest))
        if index is None:
            left_out.append(result)
        else:
            kept += _beside(result.model_copy(update={"sample": index}), reported.benchmark)
    return kept, left_out


def _renamed(result: Result, cell: Cell) -> Result:
    """A result under the names of today's grid, which are no part of its key."""
    names = {"dataset": cell.dataset.name, "backbone": cell.backbone, "method": cell.plan.name}
    return result.model_copy(update={**names, "sample": cell.sample.index})


def _beside(result: Result, benchmark: Benchmark) -> list[Result]:
    """A result of another program at its backbone, or at every one of the grid under a name that says its own."""
    taken = {plan.name for plan in benchmark.grid.plans}
    name = f"{result.method} (another program)" if result.method in taken else result.method
    if result.backbone in benchmark.grid.backbones:
        return [result.model_copy(update={"method": name})]
    name = f"{name} ({result.backbone})" if result.backbone else name
    return [result.model_copy(update={"backbone": own, "method": name}) for own in benchmark.grid.backbones]


def _differences(methods: Mapping[str, Sequence[Result]], baseline: str) -> list[Compared]:
    if baseline not in methods:
        return []
    found = [compare(name, runs, methods[baseline]) for name, runs in methods.items() if name != baseline]
    return [item for item in found if item is not None]


def _completeness(reported: Reported, left_out: Sequence[Result]) -> list[str]:
    cells = reported.benchmark.cells
    done = [cell for cell in cells if cell.key in reported.finished]
    failed = [cell for cell in cells if cell.key in reported.failed]
    waiting = len(cells) - len(done) - len(failed)
    planned = count_text(len(cells), "run")
    parts = [f"{planned} planned, {len(done)} finished, {len(failed)} failed, {waiting} not run yet."]
    if failed:
        parts += ["Failed runs; what they were for is missing below:", _failures(failed, reported.failed)]
    if left_out:
        sources = Counter(f"{result.method} on {result.dataset}, n={result.n}" for result in left_out)
        listed = "; ".join(f"{name} ({count})" for name, count in sources.items())
        parts.append(f"Left out, because they ran on other rows than these: {listed}.")
    return parts


def _failures(failed: Sequence[Cell], errors: Mapping[str, str]) -> str:
    rows = Counter((cell.dataset.name, cell.sample.size, cell.plan.name, errors[cell.key]) for cell in failed)
    return table(
        ("data set", "n", "method", "runs", "error"),
        [(dataset, n, method, count, error) for (dataset, n, method, error), count in rows.items()],
    )


def _quality(summaries: Mapping[Place, Sequence[Summary]]) -> list[str]:
    parts = ["## How good", _QUALITY]
    for place, items in summaries.items():
        parts += [f"### {_title(place)}", quality_table(items)]
    return parts


def _against_rivals(places: Mapping[Place, Mapping[str, Sequence[Result]]], grid: GridSpec) -> list[str]:
    """Nothing where the grid names no subject."""
    if grid.subject is None:
        return []
    held = contests(places, grid.subject, grid.rivals)
    parts = [f"## {grid.subject} against its rivals"]
    if held:
        introduction, over_sets = (text.format(subject=grid.subject) for text in (_RIVALS, _RIVALS_OVER_SETS))
        parts += [introduction, over_sets, tally_table(tallies(held))]
    for (n, backbone), group in _by_size(held).items():
        parts += [f"### n={n}, {backbone}", rival_table(group)]
    untold = _untold(held, grid)
    return [*parts, f"Not told, without a sample that both ran on: {untold}."] if untold else parts


def _untold(held: Sequence[Contest], grid: GridSpec) -> str:
    """By rival and size the data sets without a contest; "" where there are none."""
    told = {(contest.place, contest.rival) for contest in held}
    missing: dict[str, list[str]] = {}
    for backbone, n, dataset, rival in itertools.product(grid.backbones, sorted(grid.n), grid.datasets, grid.rivals):
        if (Place(backbone, dataset, n), rival) not in told:
            missing.setdefault(f"`{rival}` at n={n}, {backbone}", []).append(dataset)
    everywhere = list(grid.datasets)
    return "; ".join(
        f"{where} ({'all data sets' if datasets == everywhere else ', '.join(datasets)})"
        for where, datasets in missing.items()
    )


def _by_size(held: Sequence[Contest]) -> dict[tuple[int, str], list[Contest]]:
    groups: dict[tuple[int, str], list[Contest]] = {}
    for contest in held:
        groups.setdefault((contest.place.n, contest.place.backbone), []).append(contest)
    return groups


def _against_baseline(differences: Mapping[Place, Sequence[Compared]], baseline: str) -> list[str]:
    parts = [f"## Against {baseline}"]
    if not any(differences.values()):
        return [*parts, f"Not told: fewer than two samples on which {baseline} and another method both ran."]
    parts.append(_DIFFERENCE.format(baseline=baseline))
    for place, items in differences.items():
        if items:
            parts += [f"### {_title(place)}", comparison_table(items)]
    return [*parts, "### Over data sets", _tally(differences)]


def _tally(differences: Mapping[Place, Sequence[Compared]]) -> str:
    """By backbone, size and method on how many data sets the interval is on which side of zero."""
    verdicts: dict[tuple[str, int, str], Counter[str]] = {}
    for place, items in differences.items():
        for item in items:
            verdicts.setdefault((place.backbone, place.n, item.method), Counter())[item.verdict] += 1
    rows = [
        (backbone, n, method, counts["better"], counts["not told apart"], counts["worse"], _claim(counts))
        for (backbone, n, method), counts in sorted(verdicts.items(), key=lambda item: item[0])
    ]
    return table(("backbone", "n", "method", "better", "not told apart", "worse", "'better' on 3 of 4 data sets"), rows)


def _claim(counts: Counter[str]) -> str:
    """Whether a claim may be made: better on at least three of four data sets."""
    total = counts.total()
    if total < _OF_DATA_SETS:
        return f"fewer than {_OF_DATA_SETS} data sets"
    return "yes" if counts["better"] * _OF_DATA_SETS >= _CLAIM * total else "no"


def _costs(summaries: Mapping[Place, Sequence[Summary]], baseline: str) -> list[str]:
    parts = ["## What it costs", _COST.format(baseline=baseline)]
    for place, items in summaries.items():
        parts += [f"### {_title(place)}", cost_table(items, baseline)]
    return parts


def _methods(benchmark: Benchmark) -> list[str]:
    rows = [
        (plan.name, plan.method, strict_json.canonical(plan.model_dump(mode="json")["options"]).decode(),
         plan.patterns or (f"only {plan.pattern}" if plan.pattern is not None else "all"), plan.words or "all")
        for plan in benchmark.grid.plans
    ]  # fmt: skip
    return ["## Methods", table(("name", "method", "options", "patterns", "words per label"), rows)]


def _rows(benchmark: Benchmark) -> list[str]:
    sets = [
        (item.name, item.pool_rows, len(item.test), item.test_digest[:_SHORT], len(item.task.labels),
         len(item.unlabelled), "; ".join(f"`{pattern.template}`" for pattern in item.task.patterns))
        for item in benchmark.datasets
    ]  # fmt: skip
    samples = [
        (item.name, sample.size, sample.index, sample.digest, sample.shared)
        for item in benchmark.datasets
        for sample in item.samples
    ]
    return [
        "## Rows",
        table(
            ("data set", "rows to draw from", "test rows", "sha256 of these", "labels", "unlabelled", "patterns"), sets
        ),
        "Samples, drawn by hashes alone; the last column counts rows that an earlier sample of this size has too:",
        table(("data set", "n", "sample", "sha256 of the rows", "shared"), samples),
    ]


def _machines(results: Sequence[Result]) -> list[str]:
    machines = Counter(
        (result.hardware or "not said", result.threads or "not said",
         ", ".join(f"{name} {number}" for name, number in sorted(result.versions.items())))
        for result in results
    )  # fmt: skip
    rows = [(*machine, runs) for machine, runs in machines.items()]
    return ["## Machines and versions", table(("hardware", "threads", "versions", "runs"), rows)]


def _title(place: Place) -> str:
    return f"{place.dataset}, n={place.n}, {place.backbone}"
