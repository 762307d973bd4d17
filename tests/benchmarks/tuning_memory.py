"""Memory of the stack that tuning trains: planned against measured, on a real backbone and real rows.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.tuning_memory BACKBONE TRAIN.csv [TRAIN.csv ...] [--members 45]

BACKBONE is a directory (`petapter train --backbone minilm` builds one in petapter's cache); every TRAIN.csv is measured
in processes of its own, which train the members of `petapter tune` - three patterns, three seeds, five folds, each with
all its steps - in one stack on 100 of its rows, and let them say what they make of all rows. "In use" is the resident
memory where the C library gives freed blocks back at once (MALLOC_TOP_PAD_=0); "held" is without that.
"""

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import torch

from petapter import Backbone, Example
from petapter.joint.memory import JointPlan
from petapter.selection import pattern_pool
from petapter.selection.grouped_folds import grouped_folds
from petapter.tuning import Member, MemberRuns, TuneOptions
from petapter.tuning.members import Asked
from petapter_schemas.tables import read_rows
from petapter_schemas.task import TaskSpec
from tests.benchmarks.joint import MIB, Peak

SEEDS, FOLDS = 3, 5
NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
"""Label words: what a module takes does not depend on what it says."""
MEASURE = """
import json, sys
from tests.benchmarks.tuning_memory import Stack, measured
print(json.dumps(vars(measured(Stack(*json.loads(sys.argv[1]))))))
"""


@dataclass(frozen=True)
class Stack:
    """What trains in a process.

    Attributes:
        backbone: Its directory.
        data: The file of rows, with columns text and label.
        rows: How many of them.
        members: How many train together.
        steps: Of each.
    """

    backbone: str
    data: str
    rows: int
    members: int
    steps: int


@dataclass(frozen=True)
class Measured:
    """Bytes.

    Attributes:
        planned: Beside the backbone.
        slots: Members at a time.
        training: Most that training took beside what was there before it.
        asking: Most that all of it took, with what the members say.
        process: Most that the whole process ever held.
    """

    planned: int
    slots: int
    training: int
    asking: int
    process: int


def measured(stack: Stack) -> Measured:
    """Train the members of a stack in this process."""
    backbone = Backbone.load(Path(stack.backbone), device="cpu")
    examples = _examples(Path(stack.data), stack.rows)
    labels = sorted({row.label for row in examples if row.label is not None})
    words = dict(zip(labels, NUMERALS, strict=False))
    task = TaskSpec.model_validate({"labels": words, "patterns": ["{text} It was {mask}."]})
    patterns = pattern_pool(task, ["en"], backbone).patterns[: -(-stack.members // (SEEDS * FOLDS))]
    folds = grouped_folds(task, examples, FOLDS)
    members = [
        Member(fold, pattern, seed)
        for fold in range(folds.count)
        for pattern in range(len(patterns))
        for seed in range(SEEDS)
    ][: stack.members]
    asked = Asked(task, patterns, examples, [], folds)
    options = TuneOptions(steps=stack.steps).of_members(backbone)
    list(MemberRuns(asked, backbone, replace(options, steps=1))(members[:1]))  # loads what training needs
    plans: list[JointPlan] = []
    trained: list[int] = []
    gc.collect()
    with Peak() as peak:
        runs = MemberRuns(asked, backbone, options, on_plan=plans.append)
        list(runs(members, lambda *_told: trained.append(peak.bytes)))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Measured(plans[0].peak_bytes, plans[0].slots, trained[-1], peak.bytes, most)


def _examples(data: Path, count: int) -> list[Example]:
    """Rows drawn from a file."""
    rows = [Example({"text": row.text("text")}, row.text("label")) for row in read_rows(data, ("text", "label"))]
    return random.Random(0).sample(rows, count)  # noqa: S311 (of a benchmark)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("backbone")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--members", type=int, default=45)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--steps", type=int, default=TuneOptions().steps)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {args.members} members, {args.rows} rows\n")
    print("| rows of | at a time | planned MiB | in use, training | planned by in use | in use, all | held | process |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for data in args.data:
        stack = Stack(args.backbone, data, args.rows, args.members, args.steps)
        used, held = (_in_a_process(stack, more) for more in ({"MALLOC_TOP_PAD_": "0"}, {}))
        print(
            f"| {Path(data).parent.name} | {used.slots} | {used.planned / MIB:.0f} | {used.training / MIB:.0f} "
            f"| {used.planned / used.training:.2f} | {used.asking / MIB:.0f} | {held.asking / MIB:.0f} "
            f"| {held.process / MIB:.0f} |",
            flush=True,
        )


def _in_a_process(stack: Stack, environment: dict[str, str]) -> Measured:
    command = [sys.executable, "-c", MEASURE, json.dumps(astuple(stack))]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    return Measured(**json.loads(said.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
