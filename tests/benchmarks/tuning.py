"""What `tune` costs, whether its score can be believed, and what one module loses to the vote it learnt.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.tuning cost DIR [--dataset trec6] [--n 100]
    OMP_NUM_THREADS=1 python -m tests.benchmarks.tuning trials DIR --out FOLDER [--options patterns=2,seeds=1]
    OMP_NUM_THREADS=1 python -m tests.benchmarks.tuning report FOLDER

DIR holds the data sets of grids/tuning.yaml, each with train.csv and test.csv (header: text,label).

    cost    processor seconds of one training run of preset plain, of one of strong, and of a tuning, each in a process
            of its own, one after the other, with what each stage took; loading the backbone is in none of them
    trials  tunes on five samples of each data set, the first of all sets first, and asks each module that comes out
            about rows of the same file that no sample holds; a line of JSON for each in trials.jsonl, where a further
            call goes on. What the members said is kept beside it.
    report  the trials as Markdown: how often the interval holds the truth, and what the student loses to the vote

A sample has about as many rows of every label, and the file has not. The truth is the accuracy on texts among which
labels are as frequent as in the sample: the mean of the accuracies by label, weighted by the sample's shares.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from petapter import Backbone, Engine, Example, StrongOptions, TrainedModule, TrainingOptions, train
from petapter.benchmark.datasets import Dataset, load_datasets
from petapter.benchmark.grid import GridSpec, read_grid
from petapter.benchmark.samples import Sample, draw_test_rows
from petapter.evaluation.pairs import wilson_interval
from petapter.selection import pattern_pool
from petapter.task import read_examples, rows_digest
from petapter.tuning import TuneOptions, Watcher, Work, tune
from petapter_hub_client import resolve_backbone
from tests.benchmarks.intervals import interval

GRID = Path(__file__).parent / "grids" / "tuning.yaml"
TRIALS = "trials.jsonl"
HELD_OUT = 240
"""Rows that the truth is measured on, as many of each label as there are, and at most."""


@dataclass(frozen=True)
class Truth:
    """How often a module is right on texts like the rows of a sample."""

    accuracy: float
    rows: int


@dataclass
class Stages:
    """Processor seconds by stage."""

    seconds: dict[str, float]
    began: float
    name: str = "before"

    def __call__(self, name: str) -> None:
        """The next stage begins."""
        now = time.process_time()
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + now - self.began
        self.began, self.name = now, name


def minilm() -> Backbone:
    return Backbone.load(resolve_backbone("minilm").directory, repo="minilm", device="cpu")


def options_of(given: str) -> TuneOptions:
    """The defaults but for what is given as `name=value,name=value`."""
    found = {key: int(value) for key, _, value in (each.partition("=") for each in given.split(",") if each)}
    return replace(TuneOptions(), **found)


def drawn(data: Path, name: str, size: int) -> tuple[Dataset, Sample]:
    """A data set of the grid and its first sample of a size."""
    grid = read_grid(GRID)
    spec = grid.model_copy(update={"datasets": {name: grid.datasets[name]}, "n": (size,), "samples": 1})
    (dataset,) = load_datasets(spec, GRID, data)
    return dataset, dataset.samples[0]


def cost_of(what: str, data: Path, name: str, size: int, options: TuneOptions) -> dict[str, Any]:
    """Processor seconds of one thing, in this process."""
    dataset, sample = drawn(data, name, size)
    backbone = minilm()
    stages = Stages({}, time.process_time())
    if what == "tune":
        pool = pattern_pool(dataset.task, ["en"], backbone).patterns
        tuned = tune(dataset.task, sample.rows, backbone, pool, options, watcher=Watcher(stages))
        stages("after")
        return {"seconds": sum(stages.seconds.values()), "stages": stages.seconds, "members": tuned.vote.members}
    train(dataset.task, sample.rows, backbone, TrainingOptions() if what == "plain" else StrongOptions())
    stages("after")
    return {"seconds": sum(stages.seconds.values())}


def cost(args: argparse.Namespace) -> None:
    """Each in a process of its own, as Markdown."""
    own = [sys.executable, "-m", "tests.benchmarks.tuning", "one", str(args.data)]
    own += ["--dataset", args.dataset, "--n", str(args.n), "--options", args.options]
    found: dict[str, Any] = {}
    for what in ("plain", "strong", "tune"):
        ran = subprocess.run([*own, "--what", what], check=True, capture_output=True, text=True)
        found[what] = json.loads(ran.stdout.splitlines()[-1])
        print(f"{what}: {found[what]['seconds']:.1f} s", file=sys.stderr, flush=True)
    plain = found["plain"]["seconds"]
    print(f"{args.dataset}, {args.n} rows, minilm; processor seconds\n")
    print("| what | seconds | by plain |\n| --- | ---: | ---: |")
    for what, own_seconds in ((each, found[each]["seconds"]) for each in found):
        print(f"| {what} | {own_seconds:.1f} | {own_seconds / plain:.2f}x |")
    for stage, seconds in found["tune"]["stages"].items():
        print(f"| of it: {stage} | {seconds:.1f} | {seconds / plain:.2f}x |")


def held_out_rows(pool: Sequence[Example], names: Sequence[str], samples: Sequence[Sample]) -> list[Example]:
    """Rows of no sample, as many of each label as there are, and at most."""
    taken = {tuple(row.fields.items()) for sample in samples for row in sample.rows}
    left = draw_test_rows([row for row in pool if tuple(row.fields.items()) not in taken], None)
    return [row for name in names for row in [row for row in left if row.label == name][: HELD_OUT // len(names)]]


def truth_of(
    module: TrainedModule, backbone: Backbone, sample: Sequence[Example], held_out: Sequence[Example]
) -> Truth:
    with Engine(backbone) as engine:
        engine.load(replace(module, calibration=None), "module")
        said = engine.predict([("module", row.fields) for row in held_out])
    hits = [(row.label, answer.label == row.label) for row, answer in zip(held_out, said, strict=True)]
    accuracy = 0.0
    for name in module.task.label_names:
        share = sum(row.label == name for row in sample) / len(sample)
        accuracy += share * float(np.mean([hit for label, hit in hits if label == name]))
    return Truth(accuracy, len(held_out))


def pool_of(grid: GridSpec, name: str, data: Path, dataset: Dataset) -> list[Example]:
    return list(read_examples(Path(grid.datasets[name].train.replace("${DATA}", str(data))), dataset.task))


def trials(args: argparse.Namespace) -> None:
    """Go on where the file ends."""
    grid, options, backbone = read_grid(GRID), options_of(args.options), minilm()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    lines = out / TRIALS
    done = {(each["dataset"], each["sample"]) for each in read_trials(out)}
    datasets = {each.name: each for each in load_datasets(grid, GRID, args.data)}
    for number in range(grid.samples):
        for name, dataset in datasets.items():
            if (name, number) in done or (args.only and name not in args.only):
                continue
            pool = pool_of(grid, name, args.data, dataset)
            held_out = held_out_rows(pool, dataset.task.label_names, dataset.samples)
            line = trial(dataset, dataset.samples[number], held_out, options, backbone, out=out, most=args.pool)
            line |= {"commit": args.commit}
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def trial(
    dataset: Dataset,
    sample: Sample,
    held_out: Sequence[Example],
    options: TuneOptions,
    backbone: Backbone,
    *,
    out: Path,
    most: int | None,
) -> dict[str, Any]:
    """One tuning over the first so many patterns of the pool, and the truth about it."""
    began = time.process_time()
    pool = pattern_pool(dataset.task, ["en"], backbone).patterns[:most]
    work = Work(out / "work" / f"{dataset.name}-{sample.index}", {"rows": sample.digest, "options": options.identity()})
    tuned = tune(dataset.task, sample.rows, backbone, pool, options, work=work)
    seconds = time.process_time() - began
    truth = truth_of(tuned.module, backbone, sample.rows, held_out)
    return {
        "dataset": dataset.name,
        "sample": sample.index,
        "rows": sample.digest,
        "n": sample.size,
        "pool": len(pool),
        "held_out": rows_digest(held_out),
        "options": options.identity(),
        "shipped": tuned.chosen.name,
        "accuracy": tuned.accuracy,
        "low": tuned.interval.low,
        "high": tuned.interval.high,
        "truth": asdict(truth),
        "vote": tuned.vote.accuracy,
        "vote_loss": tuned.vote.loss,
        "finalists": {
            each.name: {
                "rows": each.rows,
                "accuracy": each.accuracy,
                "loss": each.loss,
                "behind_vote": each.behind_vote.mean,
                "fidelity": each.fidelity,
            }
            for each in tuned.finalists
        },
        "seconds": seconds,
    }


def read_trials(folder: Path) -> list[dict[str, Any]]:
    lines = folder / TRIALS
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.is_file() else []


def report(args: argparse.Namespace) -> None:
    """The trials as Markdown."""
    found = read_trials(args.out)
    held = [each["low"] <= each["truth"]["accuracy"] <= each["high"] for each in found]
    low_high = wilson_interval(sum(held), len(held))
    print("| data | shipped distilled | said | truth | interval holds it | vote | distilled | by the vote |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in dict.fromkeys(each["dataset"] for each in found):
        own = [each for each in found if each["dataset"] == name]
        holds = sum(hit for each, hit in zip(found, held, strict=True) if each["dataset"] == name)
        print(f"| {_row(name, own, holds)} |")
    print(f"| {_row('all', found, sum(held))} |")
    ahead, half = interval([-100 * each["finalists"]["distilled"]["behind_vote"] for each in found])
    print(f"\nThe interval holds the truth in {sum(held)} of {len(held)} trials ", end="")
    print(f"({low_high.low:.2f} to {low_high.high:.2f}).")
    print(f"The student is {ahead:+.2f} points by the vote ({ahead - half:+.2f} to ", end="")
    print(f"{ahead + half:+.2f}, t interval over trials).")


def _row(name: str, own: Sequence[dict[str, Any]], holds: int) -> str:
    def mean(values: Sequence[float]) -> str:
        return f"{100 * float(np.mean(values)):.1f}"

    cells = [
        name,
        f"{sum(each['shipped'] == 'distilled' for each in own)} of {len(own)}",
        mean([each["accuracy"] for each in own]),
        mean([each["truth"]["accuracy"] for each in own]),
        f"{holds} of {len(own)}",
        mean([each["vote"] for each in own]),
        mean([each["finalists"]["distilled"]["accuracy"] for each in own]),
        f"{-100 * float(np.mean([each['finalists']['distilled']['behind_vote'] for each in own])):+.1f}",
    ]
    return " | ".join(cells)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = options.add_subparsers(dest="command", required=True)
    for name in ("cost", "one"):
        command = commands.add_parser(name)
        command.add_argument("data", type=Path)
        command.add_argument("--dataset", default="trec6")
        command.add_argument("--n", type=int, default=100)
        command.add_argument("--options", default="")
        command.add_argument("--what", choices=("plain", "strong", "tune"), default="tune")
    command = commands.add_parser("trials")
    command.add_argument("data", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--options", default="")
    command.add_argument("--pool", type=int, help="Patterns to choose from; all of the pool by default.")
    command.add_argument("--only", nargs="+", help="Data sets; all of the grid by default. Processes may share them.")
    command.add_argument("--commit", default="", help="Of the code, for the record.")
    commands.add_parser("report").add_argument("out", type=Path)
    args = options.parse_args()
    if args.command == "one":
        found = cost_of(args.what, args.data, args.dataset, args.n, options_of(args.options))
        print(json.dumps(found))
        return
    {"cost": cost, "trials": trials, "report": report}[args.command](args)


if __name__ == "__main__":
    main()
