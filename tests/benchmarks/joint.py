"""Many modules trained together against peft training one after another, side by side in one run.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.joint [--rounds 5] [--modules 8] [--steps 12] [--only speed ...]
    python -m tests.benchmarks.joint --only speed --device cuda --shape 24x1024 --modules 32 --batch 8

A random model of 6 layers of width 384; lengths of texts as a lognormal draws them, of 45 tokens in the mean and 128
at most. Every figure is the least of the rounds, in processor seconds, on a GPU by the clock once it has done all that
it was given, and the rounds of all variants are interleaved, since a shared machine changes its pace. Only steps are
timed: rows are encoded, adapters begun and modules recorded outside.

    speed   module-steps per second: modules of all layers, and of the upper half with the lower half cached
    memory  the planned peak against the measured one, in a process of its own for each; and again with
            MALLOC_TOP_PAD_=0, under which glibc gives freed memory back (and everything takes twice as long)
    equal   the largest difference of a weight between a module that trained among others and alone
"""

import argparse
import gc
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from petapter import Backbone, Example, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.joint import JointRun, train_jointly
from petapter.training.trainer import EncodedRows, checked_rows, plain_recipe
from petapter_schemas.task import TaskSpec
from tests.benchmarks.runtime import backbone_of
from tests.benchmarks.runtime_cuda import placed

TASK = TaskSpec.model_validate({"labels": {"pos": "great", "neg": "bad"}, "patterns": ["{text} It was {mask}."]})
WORDS = ("the", "match", "was", "very", "good", "bad", "fine", "game", "not", "a", "price", "bank", "market", "ball")
ROWS = 64
MIB = 1 << 20


def examples() -> list[Example]:
    """Rows of mixed length."""
    draw = random.Random(0)  # noqa: S311 (of a benchmark)
    lengths = [min(120, max(4, round(draw.lognormvariate(3.6, 0.7)))) for _ in range(ROWS)]
    return [
        Example({"text": " ".join(draw.choices(WORDS, k=length))}, ("pos", "neg")[number % 2])
        for number, length in enumerate(lengths)
    ]


class Stopwatch:
    """Seconds of the steps of a run but for its first, which warms up."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._first = self._last = 0.0
        self._steps = (0, 0)

    def __call__(self, done: int, _total: int, _loss: float) -> None:
        """A step is done."""
        now = self._now()
        if not self._first:
            self._first, self._steps = now, (done, done)
        self._last, self._steps = now, (self._steps[0], done)

    def _now(self) -> float:
        if self._device.type != "cuda":
            return time.process_time()
        torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @property
    def per_step(self) -> float:
        """Seconds for each step that was counted."""
        return (self._last - self._first) / (self._steps[1] - self._steps[0])


def options_of(args: argparse.Namespace, layers: tuple[int, ...] | None) -> list[TrainingOptions]:
    """Of each module."""
    adapter = AdapterChoice(layers=layers)
    base = TrainingOptions(steps=args.steps, batch_size=args.batch, adapter=adapter)
    return [replace(base, seed=seed) for seed in range(args.modules)]


def one_after_another(backbone: Backbone, options: Sequence[TrainingOptions]) -> float:
    """Module-steps per second of peft."""
    seconds = 0.0
    for each in options:
        watch = Stopwatch(backbone.device)
        train(TASK, examples(), backbone, each, on_step=watch)
        seconds += watch.per_step
    return len(options) / seconds


def runs_of(backbone: Backbone, options: Sequence[TrainingOptions]) -> list[JointRun]:
    """The same modules, to be trained together."""
    rows = EncodedRows(TASK, examples(), checked_rows(TASK, examples(), backbone))
    return [JointRun(plain_recipe(each, backbone, ROWS), rows) for each in options]


def together(backbone: Backbone, options: Sequence[TrainingOptions]) -> float:
    """Module-steps per second of the joint trainer."""
    watch = Stopwatch(backbone.device)
    train_jointly(runs_of(backbone, options), backbone, on_step=watch)
    return 1 / watch.per_step


@dataclass(frozen=True)
class Variant:
    """Something to time."""

    name: str
    measure: Callable[[], float]


def speed(args: argparse.Namespace) -> None:
    """Print the table of speeds."""
    layers, hidden = map(int, args.shape.split("x"))
    backbone = placed(backbone_of(layers, hidden), torch.device(args.device), torch.float32)
    every, upper = options_of(args, None), options_of(args, tuple(range(layers // 2, layers)))
    variants = [
        Variant("peft one after another, all layers", lambda: one_after_another(backbone, every)),
        Variant("together, all layers", lambda: together(backbone, every)),
        Variant("peft one after another, upper half", lambda: one_after_another(backbone, upper)),
        Variant("together, upper half, lower half cached", lambda: together(backbone, upper)),
    ]
    best = dict.fromkeys((variant.name for variant in variants), 0.0)
    for _ in range(args.rounds):
        for variant in variants:
            best[variant.name] = max(best[variant.name], variant.measure())
    print(
        f"\n{args.shape}, {args.modules} modules, {args.batch} rows a step each, {args.steps} steps, least of "
        f"{args.rounds} rounds\n"
    )
    print("| variant | module-steps per second | by peft on the same modules |\n| --- | ---: | ---: |")
    for number, variant in enumerate(variants):
        baseline = best[variants[number - number % 2].name]
        print(f"| {variant.name} | {best[variant.name]:.1f} | {best[variant.name] / baseline:.2f}x |")


def equal(args: argparse.Namespace) -> None:
    """Print how far modules that trained among others are from the same alone."""
    backbone = backbone_of(6, 384)
    options = options_of(args, None)
    runs = runs_of(backbone, options)
    worst = 0.0
    for run, among in zip(runs, train_jointly(runs, backbone), strict=True):
        (alone,) = train_jointly([run], backbone)
        assert isinstance(among, TrainedModule)
        assert isinstance(alone, TrainedModule)
        worst = max(
            worst,
            *(
                float((among.adapter_tensors[key] - alone.adapter_tensors[key]).abs().max())
                for key in alone.adapter_tensors
            ),
            *(float((among.head_tensors[key] - alone.head_tensors[key]).abs().max()) for key in alone.head_tensors),
        )
    print(f"\n{args.modules} modules, {args.steps} steps, dropout 0.1: largest difference of a weight {worst:.1e}")


MEASURE = """
import json, sys
from tests.benchmarks.joint import measured_peak
print(json.dumps(measured_peak(*json.loads(sys.argv[1]))))
"""


class Peak:
    """The most memory that the process takes beyond what it has at first, looked at every few milliseconds."""

    def __enter__(self) -> Self:
        self._before = self._most = _resident()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watching.join()

    @property
    def bytes(self) -> int:
        """Beyond what it had."""
        return self._most - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.003):
            self._most = max(self._most, _resident())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def measured_peak(modules: int, batch: int, steps: int, layers: Sequence[int] | None) -> tuple[int, int]:
    """Bytes that training was planned to take beside the backbone, and took."""
    backbone = backbone_of(6, 384)
    args = argparse.Namespace(modules=modules, batch=batch, steps=steps)
    options = options_of(args, tuple(layers) if layers else None)
    train(TASK, examples()[:8], backbone, replace(options[0], steps=1, batch_size=1))  # loads what training needs
    runs = runs_of(backbone, options)
    planned: list[int] = []
    gc.collect()
    with Peak() as peak:
        train_jointly(runs, backbone, on_plan=lambda plan: planned.append(plan.peak_bytes))
    return planned[0], peak.bytes


def memory(args: argparse.Namespace) -> None:
    """Print planned and measured peaks."""
    print("\n| modules | rows a step | layers | planned MiB | most in use | most held | planned by in use |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    for modules, batch, layers in (
        (1, 16, None),
        (8, 16, None),
        (45, 16, None),
        (8, 16, [3, 4, 5]),
        (45, 16, [3, 4, 5]),
    ):
        given = json.dumps([modules, batch, 3, layers])
        (planned, used), (_, held) = (_peaks(given, more) for more in ({"MALLOC_TOP_PAD_": "0"}, {}))
        which = "all" if layers is None else "upper half"
        print(
            f"| {modules} | {batch} | {which} | {planned / MIB:.0f} | {used / MIB:.0f} | {held / MIB:.0f} "
            f"| {planned / used:.2f} |"
        )


def _peaks(given: str, environment: dict[str, str]) -> tuple[int, int]:
    """Planned and measured peak of a process with this in its environment."""
    command = [sys.executable, "-c", MEASURE, given]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment})
    planned, measured = json.loads(said.stdout.splitlines()[-1])
    return planned, measured


PARTS = {"speed": speed, "memory": memory, "equal": equal}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modules", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--shape", default="6x384", help="Of speed: layers x width.")
    parser.add_argument("--device", default="cpu", help="Of speed: a torch device.")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS])
    args = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} threads; python -m tests.benchmarks.joint")
    for name in args.only:
        PARTS[name](args)


if __name__ == "__main__":
    main()
