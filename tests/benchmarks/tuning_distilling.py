"""What one module loses to the vote it learns, by how it learns it.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.tuning_distilling run DIR --out FOLDER [--samples 5 6] [--ways own]
    python -m tests.benchmarks.tuning_distilling report FOLDER

DIR holds the data sets of grids/tuning.yaml. Samples are 40 rows each, drawn as those of the grid; from number 5 on
they are none of the trials of tests/benchmarks/tuning.py. For each sample members are trained on all its rows (without
folds, as the vote is measured on other rows) in the best patterns of the first so many of the pool; vote and students
then answer rows of the same train file that no sample holds, as many of each label as there are. Nothing is asked about
test files.

    run     what vote, convex head and students say, in a file for each sample; samples that have one are passed over
    report  accuracies as Markdown, and by how much each differs from the vote, with a t interval over samples
"""

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from petapter import Backbone, Example, TrainedModule
from petapter.benchmark.datasets import Dataset, load_datasets
from petapter.benchmark.grid import read_grid
from petapter.joint import JointRun, train_jointly
from petapter.selection import pattern_pool
from petapter.task.encoding import Fields
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from petapter.tuning import TuneOptions
from petapter.tuning.distilling import Lesson, Teaching, student_run, voted
from petapter.tuning.frozen import FrozenHead, FrozenPool
from petapter.tuning.heads import with_frozen_head
from petapter.tuning.members import says
from petapter_schemas.task import TaskSpec
from tests.benchmarks.intervals import interval
from tests.benchmarks.tuning import GRID, held_out_rows, minilm, pool_of

SAMPLES = 10
"""Drawn, so that the rows held out are in none of them."""
TIMES = (0, 0.25, 0.5, 1, 2)
"""How often the convex head is added."""
TEXTS, MADE = 150, 2
"""Texts of the file without labels; texts made of each row."""


@dataclass(frozen=True)
class Way:
    """How a student learns.

    Attributes:
        steps: Optimiser steps.
        teacher: The vote, or its half of members alone.
        own_share: As of `Teaching`.
        temperature: Likewise.
        texts: What it learns beside the rows: nothing, texts made of the rows, texts of the file.
        batch_size: Rows per step.
    """

    steps: int = 80
    teacher: str = "vote"
    own_share: float = 0.5
    temperature: float = 2.0
    texts: str = "none"
    batch_size: int = 8


WAYS = {
    "own": Way(),
    "short": Way(steps=40),
    "long": Way(steps=160),
    "apart": Way(teacher="members"),
    "sharp": Way(temperature=1.0),
    "soft": Way(own_share=0.0, temperature=1.0),
    "labels": Way(own_share=1.0),
    "small": Way(batch_size=4),
    "made": Way(texts="made"),
    "file": Way(texts="file", steps=160),
    "file80": Way(texts="file"),
    "file-apart": Way(texts="file", steps=160, teacher="members"),
}


@dataclass(frozen=True)
class Trial:
    """One sample and what is asked.

    Attributes:
        task: Labels, and the patterns that students ask in.
        rows: Labelled.
        made: Texts made of them.
        texts: Of the file, without labels.
        held_out: With the labels that answers are compared to.
    """

    task: TaskSpec
    rows: Sequence[Example]
    made: Sequence[Fields]
    texts: Sequence[Fields]
    held_out: Sequence[Example]

    def further(self, texts: str) -> tuple[list[Fields], range]:
        """Texts of a kind and their numbers among all."""
        count, made = len(self.rows), len(self.made)
        match texts:
            case "made":
                return list(self.made), range(count, count + made)
            case "file":
                return list(self.texts), range(count + made, count + made + len(self.texts))
        return [], range(0)

    @property
    def every(self) -> list[Fields]:
        """All that the teachers are asked: rows, made texts, texts, rows held out."""
        return [*(row.fields for row in self.rows), *self.made, *self.texts, *(row.fields for row in self.held_out)]


def made_of(rows: Sequence[Example], field: str) -> list[Fields]:
    """Texts made of rows: words left out by a fifth, and every other ends as another row does (arXiv 1903.12136)."""
    draw = random.Random(0)  # noqa: S311 (no secret)
    found: list[Fields] = []
    for number in range(MADE):
        for row in rows:
            words = row.fields[field].split()
            if number % 2:
                other = draw.choice(list(rows)).fields[field].split()
                words = words[: -(-len(words) // 2)] + other[len(other) // 2 :]
            kept = [word for word in words if draw.random() > 0.2] or words
            found.append({**row.fields, field: " ".join(kept)})
    return found


def members_of(trial: Trial, tasks: Sequence[TaskSpec], seeds: int, options: TuneOptions, backbone: Backbone) -> Tensor:
    """What members say of everything, one of each pattern and seed trained on all rows, [M, T, L]."""
    runs: list[JointRun] = []
    for task in tasks:
        rows = EncodedRows(task, trial.rows, checked_rows(task, trial.rows, backbone))
        for seed in range(seeds):
            chosen = replace(options.of_members(backbone), seed=seed)
            runs.append(JointRun(plain_recipe(chosen, backbone, len(trial.rows)), rows))
    modules = [each for each in train_jointly(runs, backbone) if isinstance(each, TrainedModule)]
    said = says(dict(enumerate(modules)), trial.every, backbone)
    return torch.stack([said[number] for number in range(len(modules))])


def students_of(
    trial: Trial, found: dict[str, Tensor], ways: dict[str, Way], head: FrozenHead, backbone: Backbone
) -> dict[str, Tensor]:
    """What students say of the rows held out, alone and with the convex head once, each [H, L]."""
    teachers = {"vote": voted(list(found["members"]), found["frozen"]), "members": voted_alone(found["members"])}
    runs: list[JointRun] = []
    for way in ways.values():
        texts, numbers = trial.further(way.texts)
        vote = teachers[way.teacher][[*range(len(trial.rows)), *numbers]]
        options = TuneOptions(student_steps=2 * way.steps, student_batch_size=way.batch_size).of_student(backbone, 0)
        teaching = Teaching(way.own_share, way.temperature, options)
        lesson = Lesson(range(len(trial.rows)), vote)
        runs.append(student_run(trial.task, (trial.rows, texts), lesson, teaching, backbone))
    modules: dict[str, TrainedModule] = {}
    for name, module in zip(ways, train_jointly(runs, backbone), strict=True):
        assert isinstance(module, TrainedModule)
        modules |= {name: module, f"{name}+1": with_frozen_head(module, head, 1.0, backbone)}
    return dict(says(modules, [row.fields for row in trial.held_out], backbone))


def voted_alone(members: Tensor) -> Tensor:
    """Log of the mean of the members' probabilities [M, T, L]."""
    return members.double().exp().mean(dim=0).log()


def trial_of(
    args: argparse.Namespace, dataset: Dataset, number: int, texts: set[str], backbone: Backbone
) -> tuple[Trial, list[TaskSpec], FrozenHead]:
    sample = dataset.samples[number]
    candidates = pattern_pool(dataset.task, ["en"], backbone).patterns[: args.pool]
    frozen = FrozenPool.read(candidates, dataset.task, (sample.rows, ()), backbone)
    ranking = frozen.ranked(range(len(sample.rows)), args.patterns)
    head = frozen.head(ranking.chosen, range(len(sample.rows)))
    whole = pool_of(read_grid(GRID), dataset.name, args.data, dataset)
    held_out = held_out_rows(whole, dataset.task.label_names, dataset.samples)
    taken = {tuple(row.fields.items()) for rows in (held_out, *(s.rows for s in dataset.samples)) for row in rows}
    left = [row.fields for row in whole if tuple(row.fields.items()) not in taken]
    left = random.Random(0).sample(left, min(TEXTS, len(left)))  # noqa: S311 (likewise)
    task = dataset.task.model_copy(update={"patterns": tuple(candidates[at].pattern for at in ranking.chosen)})
    made = made_of(sample.rows, dataset.task.fields[0]) if "made" in texts else []
    trial = Trial(task, sample.rows, made, left if "file" in texts else [], held_out)
    return trial, [candidates[at].alone(dataset.task) for at in ranking.chosen], head


def frozen_says(trial: Trial, head: FrozenHead, like: TrainedModule, backbone: Backbone) -> Tensor:
    """What the convex head says of everything, [T, L]: a module without adapter and trained words."""
    alone = with_frozen_head(like, head, 1.0, backbone)
    only = {name: tensor for name, tensor in alone.head_tensors.items() if name.startswith("labels.")}
    count = sum(tensor.numel() for tensor in only.values())
    spec = alone.head.model_copy(update={"parts": ("labels",), "words": head.convex.trust, "parameters": count})
    return says({0: replace(alone, head=spec, head_tensors=only)}, trial.every, backbone)[0]


def run(args: argparse.Namespace) -> None:
    grid, backbone = read_grid(GRID), minilm()
    args.out.mkdir(parents=True, exist_ok=True)
    sets = {name: each for name, each in grid.datasets.items() if not args.only or name in args.only}
    datasets = load_datasets(grid.model_copy(update={"samples": SAMPLES, "datasets": sets}), GRID, args.data)
    options = replace(TuneOptions(), steps=args.steps)
    for number in args.samples:
        for dataset in datasets:
            path = args.out / f"{dataset.name}-{number}.npz"
            if path.is_file():
                continue
            ways = {name: WAYS[name] for name in args.ways.split(",")}
            began = time.process_time()
            texts = {WAYS[name].texts for name in args.ways.split(",")}
            trial, tasks, head = trial_of(args, dataset, number, texts, backbone)
            found = {"members": members_of(trial, tasks, args.seeds, options, backbone)}
            rows = EncodedRows(trial.task, trial.rows, checked_rows(trial.task, trial.rows, backbone))
            bare = replace(options.of_student(backbone, 0), adapter=None, rank=0, steps=1)
            (like,) = train_jointly([JointRun(plain_recipe(bare, backbone, len(trial.rows)), rows)], backbone)
            assert isinstance(like, TrainedModule)
            found["frozen"] = frozen_says(trial, head, like, backbone)
            names = trial.task.label_names
            found["gold"] = torch.tensor([names.index(str(row.label)) for row in trial.held_out])
            between = time.process_time()
            found |= students_of(trial, found, ways, head, backbone)
            with path.open("wb") as file:
                np.savez(file, **{name: each.numpy() for name, each in found.items()})  # type: ignore[arg-type]
            print(f"{path.stem}: {between - began:.0f} s, students {time.process_time() - between:.0f} s", flush=True)


def answers(path: Path) -> dict[str, np.ndarray]:
    """Whether each who was asked is right about the rows held out, [H] each."""
    with np.load(path) as stored:
        found = {name: torch.from_numpy(stored[name]) for name in stored.files}
    gold = found.pop("gold")
    held = len(gold)
    members, frozen = found.pop("members")[:, -held:], found.pop("frozen")[-held:]
    said = {
        "one member": members,
        "members": voted_alone(members),
        "convex head": frozen,
        "vote": voted(list(members), frozen),
    }
    for name in [name for name in found if not name.endswith("+1")]:
        own, added = found[name].double(), found[f"{name}+1"].double()
        said |= {f"student {name} + {times} x head": own + times * (added - own) for times in TIMES}
    right = {name: (each.argmax(dim=-1) == gold).double().reshape(-1, held) for name, each in said.items()}
    return {name: each.mean(dim=0).numpy() for name, each in right.items()}


def report(args: argparse.Namespace) -> None:
    found = {path.stem: answers(path) for path in sorted(args.out.glob("*.npz"))}
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    sets = sorted({stem.rpartition("-")[0] for stem in found})
    print(f"| who answers | {' | '.join(sets)} | all | by the vote | samples |")
    print(f"| --- |{' ---: |' * (len(sets) + 3)}")
    for name in names:
        own = {stem: each for stem, each in found.items() if name in each}
        by_set = [[e[name].mean() for s, e in own.items() if s.rpartition("-")[0] == one] for one in sets]
        cells = [f"{100 * np.mean(each):.1f}" if each else "" for each in by_set]
        apart, half = interval([100 * float(each[name].mean() - each["vote"].mean()) for each in own.values()])
        mean = 100 * np.mean([each[name].mean() for each in own.values()])
        print(f"| {name} | {' | '.join(cells)} | {mean:.1f} | {apart:+.1f} ± {half:.1f} | {len(own)} |")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = options.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("data", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--samples", type=int, nargs="+", default=[5, 6, 7])
    command.add_argument("--ways", default="own")
    command.add_argument("--only", nargs="+", help="Data sets; all of the grid by default.")
    command.add_argument("--patterns", type=int, default=2)
    command.add_argument("--pool", type=int, default=6)
    command.add_argument("--seeds", type=int, default=2)
    command.add_argument("--steps", type=int, default=TuneOptions().steps, help="Of a member.")
    commands.add_parser("report").add_argument("out", type=Path)
    args = options.parse_args()
    {"run": run, "report": report}[args.command](args)


if __name__ == "__main__":
    main()
