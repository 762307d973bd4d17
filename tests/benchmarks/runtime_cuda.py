"""What many modules on one backbone cost on a GPU, side by side in one run; the same code runs on a CPU to be tried.

    python tests/benchmarks/runtime_cuda.py [--device cuda] [--shape 24x1024] [--texts 128] [--k 1 --k 32] [--peft 32]
        [--small 1 --small 8]

Rows of 128 tokens in bfloat16 at the shape of roberta-large, by the packed bare backbone and by peft's `adapter_names`.
Every figure is the median of the rounds, and the rounds of all variants are interleaved. Of a GPU the seconds between
two events are taken, and beside them those that the host was busy; a CPU has the host's alone. Passes of few texts run
as they are and as CUDA graphs, on an engine each.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

sys.path.insert(0, str(Path(__file__).parents[2]))
from petapter import Backbone, Engine, TrainingOptions, train
from petapter.runtime.work import Work
from petapter.task import EncodedText, pad_batch
from tests.benchmarks.runtime import backbone_of, bare, module_of, rows_of, work_of
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

_PASSES = 20
"""Of few texts, for one to as many modules, in a round."""


@dataclass(frozen=True)
class Seconds:
    """Of one run: until all was done, and until the host had nothing more to say."""

    whole: float
    host: float


@dataclass(frozen=True)
class Place:
    """Where and in which precision what rows run."""

    device: torch.device
    dtype: torch.dtype
    rows: list[EncodedText]


def timed(run: Callable[[], object], device: torch.device) -> Seconds:
    """Run something once."""
    if device.type != "cuda":
        began = time.perf_counter()
        run()
        took = time.perf_counter() - began
        return Seconds(took, took)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    start.record()
    began = time.perf_counter()
    run()
    host = time.perf_counter() - began
    end.record()
    torch.cuda.synchronize(device)
    return Seconds(start.elapsed_time(end) / 1e3, host)


def medians(variants: dict[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, Seconds]:
    """Median seconds of each variant, all interleaved, after two rounds that do not count."""
    found: dict[str, list[Seconds]] = {name: [] for name in variants}
    for turn in range(rounds + 2):
        for name, run in variants.items():
            took = timed(run, device)
            if turn >= 2:
                found[name].append(took)
    return {
        name: Seconds(statistics.median(each.whole for each in took), statistics.median(each.host for each in took))
        for name, took in found.items()
    }


def placed(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> Backbone:
    """The backbone, its layers in a precision, on a device."""
    torch.nn.Module.to(backbone.model, device)
    torch.nn.Module.to(backbone.model.base_model, dtype)
    return backbone


def ours(backbone: Backbone, place: Place, counts: Sequence[int], rounds: int) -> dict[str, Seconds]:
    """The bare backbone, and K modules on it."""
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    modules = [module_of(backbone, base, seed) for seed in range(min(50, max(counts)))]
    placed(backbone, place.device, place.dtype)
    with torch.inference_mode(), Engine(backbone) as engine:
        for number in range(max(counts)):
            engine.load(modules[number % len(modules)], f"m{number}")
        variants: dict[str, Callable[[], object]] = {"bare": partial(bare, backbone, place.rows)}
        for count in counts:
            work = work_of(engine, [f"m{number}" for number in range(count)], place.rows)
            variants[f"K={count}"] = partial(engine._run, work)
        return medians(variants, place.device, rounds)


def small(place: Place, shape: tuple[int, int], sizes: Sequence[int], rounds: int) -> dict[str, Seconds]:
    """Passes of so many texts for up to as many modules, as they are and recorded."""
    variants: dict[str, Callable[[], object]] = {}
    with ExitStack() as engines:
        for graphs in (False, True):
            backbone = backbone_of(*shape)
            base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
            modules = [module_of(backbone, base, seed) for seed in range(max(sizes))]
            engine = engines.enter_context(Engine(placed(backbone, place.device, place.dtype), graphs=graphs))
            for number, module in enumerate(modules):
                engine.load(module, f"m{number}")
            for size in sizes:
                works = [
                    work_of(engine, [f"m{number}" for number in range(turn % size + 1)], place.rows[turn : turn + size])
                    for turn in range(min(_PASSES, len(place.rows) - size + 1))
                ]
                name = f"{len(works)} passes of {size} texts, {'as graphs' if graphs else 'as they are'}"
                variants[name] = partial(all_of, engine, works)
        with torch.inference_mode():
            return medians(variants, place.device, rounds)


def all_of(engine: Engine, works: Sequence[Work]) -> None:
    """Run passes one after the other."""
    for work in works:
        engine._run(work)


def theirs(backbone: Backbone, place: Place, count: int, rounds: int) -> Seconds:
    """peft's mixed batch of all rows, the encoder alone."""
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
    model = get_peft_model(backbone.model.base_model, config, adapter_name="m0")
    for number in range(1, count):
        model.add_adapter(f"m{number}", config)
    model.to(place.device, place.dtype).eval()
    batch = pad_batch(place.rows, 0)
    given = {"input_ids": batch.input_ids.to(place.device), "attention_mask": batch.attention_mask.to(place.device)}
    names = [f"m{number % count}" for number in range(len(place.rows))]
    with torch.inference_mode():
        return medians({"peft": partial(model, **given, adapter_names=names)}, place.device, rounds)["peft"]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--shape", default="24x1024")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--k", type=int, action="append", default=[])
    parser.add_argument("--peft", type=int, action="append", default=[])
    parser.add_argument("--small", type=int, action="append", default=[])
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured (--device cpu tries the code)")
        return
    place = Place(torch.device(given.device), getattr(torch, given.dtype), rows_of(given.texts, equal=True))
    layers, hidden = map(int, given.shape.split("x"))
    counts = given.k or [1, 4, 16, 32, 128, 1000]
    found = ours(backbone_of(layers, hidden), place, counts, given.rounds)
    for count in given.peft or [32, 128]:
        found[f"peft K={count}"] = theirs(backbone_of(layers, hidden), place, count, given.rounds)
    found |= small(place, (layers, hidden), given.small or [1, 8, 32], given.rounds)
    where = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {where}, {given.shape}, {given.dtype}, {given.texts} texts of 128 tokens\n")
    print("| | ms | of bare packed | ms of the host |\n| --- | ---: | ---: | ---: |")
    for name, took in found.items():
        print(f"| {name} | {1e3 * took.whole:.2f} | {found['bare'].whole / took.whole:.3f} | {1e3 * took.host:.2f} |")


if __name__ == "__main__":
    main()
