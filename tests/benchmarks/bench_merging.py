"""Whether merging pays: members, merges by every method, and ensembles, on the same test rows with intervals.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_merging.py DIR --preset plain
    OMP_NUM_THREADS=1 python tests/benchmarks/bench_merging.py DIR --preset strong

DIR holds ag_news/ and snips/ with train.csv and test.csv (header: text,label); tasks and 600 test rows are those of
grids/few_shot.yaml. Three modules are trained on 100 rows each: by preset plain (LoRA of rank 8) on one sample by seeds
0 to 2, and on samples 0 to 2 by seed 0; by preset strong without a delta, which has no seed, on the samples alone.
Beside them stands one module of all 300 rows, which merging would have to replace.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from petapter import (
    Backbone,
    Example,
    StrongOptions,
    TrainedModule,
    TrainingOptions,
    read_examples,
    train,
    train_strong,
)
from petapter.benchmark.samples import Drawing, draw_samples, draw_test_rows
from petapter.evaluation import paired_difference
from petapter.merging import Comparison, Recipe, Together, compare, merge
from petapter_hub_client import resolve_backbone
from petapter_schemas.task import TaskSpec

GRID = Path(__file__).parent / "grids" / "few_shot.yaml"
NAMES = ("ag_news", "snips")
SIZE, MEMBERS, TEST_ROWS = 100, 3, 600
RECIPES = {
    "linear": Recipe(),
    "ties 0.5": Recipe("ties"),
    "ties 0.2": Recipe("ties", density=0.2),
    "dare-linear 0.5": Recipe("dare-linear"),
    "dare-ties 0.5": Recipe("dare-ties"),
}


@dataclass(frozen=True)
class Setting:
    """Modules to merge, and how they differ."""

    title: str
    members: dict[str, TrainedModule]


def settings(
    backbone: Backbone, task: TaskSpec, samples: Sequence[Sequence[Example]], preset: str
) -> tuple[list[Setting], TrainedModule]:
    all_rows = [row for rows in samples for row in rows]
    if preset == "strong":
        options = StrongOptions(delta="never")
        heads = {f"sample {i}": train_strong(task, rows, backbone, options) for i, rows in enumerate(samples)}
        return [Setting("strong, samples 0 to 2", heads)], train_strong(task, all_rows, backbone, options)
    by_seed = [train(task, samples[0], backbone, TrainingOptions(seed=seed)) for seed in range(MEMBERS)]
    by_sample = [by_seed[0], *(train(task, rows, backbone, TrainingOptions()) for rows in samples[1:MEMBERS])]
    whole = train(task, all_rows, backbone, TrainingOptions())
    same = Setting("plain, one sample, seeds 0 to 2", {f"seed {seed}": module for seed, module in enumerate(by_seed)})
    other = Setting(
        "plain, samples 0 to 2, seed 0", {f"sample {index}": module for index, module in enumerate(by_sample)}
    )
    return [same, other], whole


def figure(comparison: Comparison, alias: str, metric: str) -> str:
    item = next(item for item in comparison.figures[alias] if item.metric == metric)
    scale, digits = (100, 1) if metric == "accuracy" else (1, 3)
    low, high = scale * item.interval.low, scale * item.interval.high
    return f"{scale * item.value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def size(module: TrainedModule) -> str:
    if module.adapter.kind == "none":
        return "no adapter"
    held = module.training.hyperparameters.get("rank_holds")
    return f"{module.adapter.rank}" + ("" if held is None else f" ({100 * float(held):.0f} %)")


def report(name: str, setting: Setting, whole: TrainedModule, backbone: Backbone, rows: Sequence[Example]) -> None:
    print(f"\n## {name}, {setting.title}\n")
    print("| module | rank (held) | accuracy, % | log loss | less the best member, points | less the mean member |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    members = list(setting.members.values())
    recipes = RECIPES if members[0].adapter.kind != "none" else {"linear": Recipe()}  # all average heads
    made: dict[str, TrainedModule | Together] = {
        title: merge(members, backbone, recipe) for title, recipe in recipes.items()
    }
    made |= {"ensemble": Together(), "one module of all 300 rows": whole}
    shown = False
    for title, merged in made.items():
        found = compare(backbone, setting.members, (title, merged), rows, name=name)
        if not shown:
            for alias, module in setting.members.items():
                cells = (figure(found, alias, "accuracy"), figure(found, alias, "log_loss"))
                best = "the best" if alias == found.best else ""
                print(f"| {alias} | {size(module)} | {cells[0]} | {cells[1]} | {best} | |")
            shown = True
        gap, interval = found.difference.mean, found.difference.interval
        best = f"{100 * gap:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
        right = [found.right[alias] for alias in setting.members]
        mean = [sum(of_row) / len(of_row) for of_row in zip(*right, strict=True)]
        over = paired_difference(found.right[title], mean)
        beside = f"{100 * over.mean:+.1f} ({100 * over.interval.low:+.1f} to {100 * over.interval.high:+.1f})"
        rank = size(merged) if isinstance(merged, TrainedModule) else "each its own"
        cells = (figure(found, title, "accuracy"), figure(found, title, "log_loss"))
        print(f"| {title} | {rank} | {cells[0]} | {cells[1]} | {best} | {beside} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", choices=("plain", "strong"), default="plain")
    given = parser.parse_args()
    data = given.data
    backbone = Backbone.load(resolve_backbone("minilm").directory, repo="minilm")
    tasks = yaml.safe_load(GRID.read_text())["datasets"]
    print(f"minilm, {torch.get_num_threads()} threads, {SIZE} rows in all for each module, {TEST_ROWS} test rows")
    for name in NAMES:
        task = TaskSpec.model_validate(tasks[name]["task"])
        pool = read_examples(data / name / "train.csv", task)
        drawn = draw_samples(pool, task.label_names, Drawing((SIZE,), MEMBERS))
        rows = draw_test_rows(read_examples(data / name / "test.csv", task), TEST_ROWS)
        kept, whole = settings(backbone, task, [sample.rows for sample in drawn], given.preset)
        for setting in kept:
            report(name, setting, whole, backbone, rows)


if __name__ == "__main__":
    main()
