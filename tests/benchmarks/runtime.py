"""What many modules on one backbone cost, side by side in one run: ratios of processor seconds, not seconds.

    OMP_NUM_THREADS=1 python tests/benchmarks/runtime.py [--shape 6x384 --shape 12x768] [--rounds 5] [--only mixed ...]

Models and modules are random; what is timed does not depend on what they say. Every figure is the least of the rounds,
and the rounds of all variants of a table are interleaved, since a shared machine changes its pace.

    mixed   rows of K modules in one call, by the packed bare backbone, and by peft's `adapter_names`
    host    a pass through a model of almost no arithmetic: what is left is the work of the host
    load    loading and unloading one module beside K others
    head    the heads of all rows by the encoder
    layers  the last layer for masks alone, by all of it; a trunk that 16 modules of upper layers share, by none
    half    the same rows in bfloat16, by float32
    memory  1000 modules resident, and half of them, under requests of Zipf's law
"""

import argparse
import gc
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForMaskedLM

sys.path.insert(0, str(Path(__file__).parents[2]))
from petapter import Backbone, Engine, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice, adapter_spec
from petapter.process import settle
from petapter.runtime import runner
from petapter.runtime.plan import Item, plan
from petapter.runtime.scores import Ran
from petapter.runtime.work import Work
from petapter.task import EncodedText, pad_batch
from tests.benchmarks.growth import forked, memory_of_process, old_heap
from tests.benchmarks.passes import encode, score, ways
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS
from tests.petapter.tiny_backbones import build_backbone

Name = TypeVar("Name")

LOADED = (1, 4, 16, 32, 128, 1000)
_LENGTHS = ("mixed", "equal")
_PASTS = 6  # of the heap, for the growth of a process


def backbone_of(layers: int, hidden: int) -> Backbone:
    """A BERT of random weights with the tokenizer of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        small = Backbone.load(build_backbone("bert", Path(folder) / "bert"), device="cpu")
    config = BertConfig(
        vocab_size=small.model.config.vocab_size, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64 if hidden >= 768 else hidden // 32), intermediate_size=4 * hidden,
        max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForMaskedLM(config).eval().requires_grad_(False)
    return replace(small, model=model, max_tokens=512)


def module_of(
    backbone: Backbone, base: TrainedModule, seed: int, layers: tuple[int, ...] | None = None
) -> TrainedModule:
    """A module with a random LoRA of rank 8 on queries and values."""
    spec = adapter_spec(AdapterChoice(rank=8, alpha=16.0, layers=layers), backbone.model)
    hidden = backbone.hidden_size
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"base_model.model.bert.encoder.layer.{layer}.attention.self.{target}.lora_{side}.weight": torch.randn(
            shape, generator=generator
        )
        * 0.02
        for layer in layers or range(backbone.layers)
        for target in ("query", "value")
        for side, shape in (("A", (8, hidden)), ("B", (hidden, 8)))
    }
    return replace(base, adapter=spec, adapter_tensors=tensors)


def rows_of(count: int, *, equal: bool) -> list[EncodedText]:
    """Encodings of random tokens; lengths of 45 on average and 128 at most, or all of 128."""
    draw = random.Random(1)  # noqa: S311
    lengths = [128 if equal else min(128, max(6, round(draw.lognormvariate(3.55, 0.65)))) for _ in range(count)]
    return [
        EncodedText(tuple(draw.randrange(5, 60) for _ in range(length)), (length - 2,), 0, tuple(range(1, length - 4)))
        for length in lengths
    ]


def work_of(engine: Engine, aliases: Sequence[str], rows: Sequence[EncodedText]) -> Work:
    """Rows dealt to modules in turn."""
    work = Work()
    for number, row in enumerate(rows):
        resident = engine._modules[aliases[number % len(aliases)]]
        work.items.append(Item(resident.form.bank, resident.number, 0, len(row.input_ids)))
        work.encoded.append(row)
        work.labels_of[resident.number] = 2
    return work


def bare(backbone: Backbone, rows: Sequence[EncodedText]) -> None:
    """The packed backbone alone: no adapter, no head."""
    for pack in plan([Item(None, 0, 0, len(row.input_ids)) for row in rows], ways(backbone).tokens):
        encode(backbone, rows, pack)


def least(variants: dict[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Least processor seconds of each variant, all interleaved."""
    gc.freeze()  # torch's million objects, over which every collection would walk
    best = dict.fromkeys(variants, float("inf"))
    for turn in range(rounds + 1):
        for name, run in variants.items():
            gc.collect()
            began = time.process_time()
            run()
            if turn:
                best[name] = min(best[name], time.process_time() - began)
    return best


def mixed(shape: tuple[int, int], given: argparse.Namespace) -> None:
    """Rows of K modules by the bare backbone, and peft on the same rows, K up to a limit."""
    rounds, texts = given.rounds, given.texts
    for lengths in given.lengths or _LENGTHS:
        backbone = backbone_of(*shape)
        rows = rows_of(texts, equal=lengths == "equal")
        base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
        with torch.inference_mode(), Engine(backbone) as engine:
            for number in range(max(LOADED)):
                engine.load(module_of(backbone, base, number % 50), f"m{number}")
            variants: dict[str, Callable[[], object]] = {"bare": partial(bare, backbone, rows)}
            for count in LOADED:
                work = work_of(engine, [f"m{number}" for number in range(count)], rows)
                variants[f"K={count}"] = partial(engine._run, work)
            ours = least(variants, rounds)
        theirs = {count: peft_seconds(shape, rows, count, rounds) for count in LOADED if count <= given.peft_to}
        tokens = sum(len(row.input_ids) for row in rows)
        print(f"\n{shape[0]}x{shape[1]}, {texts} texts, {tokens} tokens, {lengths} lengths\n")
        print("| K | distinct | of bare packed | peft adapter_names / ours |\n| ---: | ---: | ---: | ---: |")
        shares = {count: ours["bare"] / ours[f"K={count}"] for count in LOADED}
        for count in LOADED:
            against = f"{theirs[count] / ours[f'K={count}']:.2f}x" if count in theirs else "-"
            print(f"| {count} | {min(count, texts)} | {shares[count]:.3f} | {against} |", flush=True)
        print(f"\nworst K / best K: {min(shares.values()) / max(shares.values()):.3f}", flush=True)


def peft_seconds(shape: tuple[int, int], rows: Sequence[EncodedText], count: int, rounds: int) -> float:
    """peft's mixed batches of 32 rows in the order in which they come, encoder alone."""
    backbone = backbone_of(*shape)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"])
    model = get_peft_model(backbone.model.base_model, config, adapter_name="m0")
    for number in range(1, count):
        model.add_adapter(f"m{number}", config)
    model.eval()

    def run() -> None:
        for start in range(0, len(rows), 32):
            part = rows[start : start + 32]
            batch = pad_batch(part, 0)
            names = [f"m{number % count}" for number in range(start, start + len(part))]
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, adapter_names=names)

    with torch.inference_mode():
        return least({"peft": run}, rounds)["peft"]


def host(rounds: int) -> None:
    """Slopes of a pass's seconds over loaded and over distinct modules, where arithmetic is next to nothing."""
    rows = rows_of(128, equal=False)
    variants: dict[tuple[int, int], Callable[[], object]] = {}
    with torch.inference_mode(), ExitStack() as engines:
        for loaded in (1, 128, 1000):
            backbone = backbone_of(12, 64)
            with torch.inference_mode(mode=False):
                base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
            engine = engines.enter_context(Engine(backbone))
            for number in range(loaded):
                engine.load(module_of(backbone, base, number % 50), f"m{number}")
            for distinct in (1, 8, 32, 128):
                if distinct <= loaded:
                    work = work_of(engine, [f"m{number}" for number in range(distinct)], rows)
                    variants[loaded, distinct] = partial(engine._run, work)
        found = least(variants, rounds)
    print("\n12x64, 128 texts: milliseconds of a call\n\n| loaded | distinct | ms |\n| ---: | ---: | ---: |")
    for (loaded, distinct), seconds in found.items():
        print(f"| {loaded} | {distinct} | {1e3 * seconds:.1f} |")
    per_loaded = 1e3 * (found[1000, 128] - found[128, 128]) / (1000 - 128)
    per_distinct = 1e3 * (found[1000, 128] - found[1000, 1]) / 127
    print(f"\nper loaded module: {per_loaded:.4f} ms; per distinct module: {per_distinct:.4f} ms", flush=True)


def load(rounds: int) -> None:
    """Loading and unloading one module beside none and beside 1000."""
    backbone = backbone_of(6, 384)
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    modules = [module_of(backbone, base, seed) for seed in range(20)]
    found = {}
    for beside in (0, 1000):
        with Engine(backbone) as engine:
            for number in range(beside):
                engine.load(modules[number % 20], f"m{number}")

            def run(engine: Engine = engine) -> None:
                for number, module in enumerate(modules):
                    engine.load(module, f"new{number}")
                for number in range(len(modules)):
                    engine.unload(f"new{number}")

            found[beside] = least({"load": run}, rounds)["load"] / len(modules)
    share = found[1000] / found[0]
    print(f"\nload and unload: {1e3 * found[0]:.2f} ms beside none, {share:.2f}x beside 1000", flush=True)


def head(rounds: int) -> None:
    """The heads of 64 rows of 16 modules by the encoder."""
    backbone = backbone_of(6, 384)
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    rows = rows_of(64, equal=False)
    with torch.inference_mode(), Engine(backbone) as engine:
        for number in range(16):
            engine.load(module_of(backbone, base, number), f"m{number}")
        work = work_of(engine, [f"m{number}" for number in range(16)], rows)
        (pack,) = plan(work.items, 10**6)
        hidden = encode(backbone, rows, pack)
        heads = engine._runner._heads
        ran = Ran(pack, rows, backbone.layers)
        found = least(
            {
                "encoder": lambda: encode(backbone, rows, pack),
                "heads": lambda: score(heads, ran, hidden),
            },
            rounds,
        )
    print(f"\nheads by encoder, 16 modules: {found['heads'] / found['encoder']:.4f}", flush=True)


def layers(rounds: int) -> None:
    """The last layer narrowed or whole, on 12 layers; 16 modules per text with and without a trunk in common."""
    backbone = backbone_of(12, 384)
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    rows = rows_of(64, equal=False)
    with torch.inference_mode(), Engine(backbone) as engine:
        engine.load(base, "m0")
        work = work_of(engine, ["m0"], rows)

        def whole() -> None:
            runner._MOST_READ = 0.0
            engine._run(work)
            runner._MOST_READ = 0.8

        found = least({"narrow": partial(engine._run, work), "whole": whole}, rounds)
    print(f"\nlast layer of 12 for masks alone: {found['whole'] / found['narrow']:.3f}x", flush=True)
    texts = rows_of(12, equal=False)
    for share in (2, 3):
        backbone = backbone_of(6, 384)
        base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
        upper = tuple(range(6 - 6 // share, 6))
        with torch.inference_mode(), Engine(backbone) as engine:
            for number in range(16):
                engine.load(module_of(backbone, base, number, upper), f"m{number}")
                engine.load(module_of(backbone, base, number), f"full{number}")
            variants: dict[str, Callable[[], object]] = {}
            for name in ("m", "full"):
                work = Work()
                for number in range(16):
                    loaded = engine._modules[f"{name}{number}"]
                    work.labels_of[loaded.number] = 2
                    for text, row in enumerate(texts):
                        form = loaded.form
                        item = Item(form.bank, loaded.number, 0, len(row.input_ids), text, form.lowest)
                        work.items.append(item)
                        work.encoded.append(row)
                variants[name] = partial(engine._run, work)
            found = least(variants, rounds)
        print(f"16 modules of the upper 1/{share}, by full depth: {found['full'] / found['m']:.2f}x", flush=True)


def half(shape: tuple[int, int], rounds: int, texts: int) -> None:
    """Rows of 16 modules in bfloat16, by the same in float32."""
    full, low = backbone_of(*shape), backbone_of(*shape)
    torch.nn.Module.to(low.model.base_model, torch.bfloat16)
    base = train(SENTIMENT, SENTIMENT_ROWS, full, TrainingOptions(steps=1, rank=0))
    with torch.inference_mode(), Engine(full) as single, Engine(low) as lower:
        engines = {"float32": single, "bfloat16": lower}
        for engine in engines.values():
            for number in range(16):
                engine.load(module_of(full, base, number), f"m{number}")
        for equal in (False, True):
            rows = rows_of(texts, equal=equal)
            works = {name: work_of(engine, engine.aliases, rows) for name, engine in engines.items()}
            found = least({name: partial(engine._run, works[name]) for name, engine in engines.items()}, rounds)
            lengths = "equal lengths" if equal else "mixed lengths"
            print(
                f"{shape[0]}x{shape[1]}, {lengths}, bfloat16: {found['float32'] / found['bfloat16']:.2f}x", flush=True
            )


def memory(rounds: int) -> None:
    """What a process grew by for 1000 modules, by their bytes, and the price of keeping half of them.

    The C library's heap decides what it can use again, by what lay there before: so the growth is measured from several
    pasts, each in a process of its own that is forked here, and the largest counts.
    """
    backbone = backbone_of(6, 384)
    base = train(SENTIMENT, SENTIMENT_ROWS, backbone, TrainingOptions(steps=1, rank=0))
    rows = rows_of(64, equal=False)
    given = module_of(backbone, base, 0)
    print("\n1000 modules, by their bytes: what a process grew by, from pasts of its heap\n")
    print("| past | resident | of it files | peak | after 64 modules in a pass | peak then | modules |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for past in range(_PASTS):
        forked(partial(grown, backbone, given, rows, past))
    draw = random.Random(2)  # noqa: S311
    weights = [1 / (rank + 1) for rank in range(1000)]
    asked = [draw.choices(range(1000), weights, k=len(rows)) for _ in range(40)]
    seconds: dict[str, float] = {}
    total = 0
    for name in ("all", "half"):
        with torch.inference_mode(), Engine(backbone, module_bytes=None if name == "all" else total // 2) as engine:
            for number in range(1000):
                engine.load(module_of(backbone, base, number), f"m{number}")
            total = max(total, engine.stats().resident_bytes)
            works = [work_of(engine, [f"m{number}" for number in numbers], rows) for numbers in asked]
            for work in works[:20]:
                engine._run(work)
            warm = engine.stats()
            later = [partial(engine._run, work) for work in works[20:]]
            seconds[name] = least({"zipf": lambda calls=later: [call() for call in calls]}, rounds)["zipf"]
            last = engine.stats()
            asked_for = last.hits + last.misses - warm.hits - warm.misses
            print(f"{name}: {last.resident} resident, {(last.misses - warm.misses) / asked_for:.3f} of requests missed")
    print(f"half resident, by all: {seconds['all'] / seconds['half']:.3f} of the throughput", flush=True)


def grown(backbone: Backbone, module: TrainedModule, rows: Sequence[EncodedText], past: int) -> None:
    """Print what this process grew by while 1000 modules were loaded, and in passes of 64 of them; past 0 is none."""
    held = old_heap(past)
    with torch.inference_mode(), Engine(backbone) as engine:
        engine.load(module, "first")  # has what all share
        gc.collect()
        before = memory_of_process(begin_peak=True)
        for number in range(1000):
            tensors = {name: tensor.clone() for name, tensor in module.adapter_tensors.items()}
            engine.load(replace(module, adapter_tensors=tensors), f"m{number}")
        gc.collect()
        loaded = memory_of_process()
        for start in range(0, 640, 64):
            engine._run(work_of(engine, [f"m{number}" for number in range(start, start + 64)], rows))
        ran = memory_of_process()
        total = engine.stats().resident_bytes * 1000 / 1001
    named = ((loaded, "VmRSS"), (loaded, "RssFile"), (loaded, "VmHWM"), (ran, "VmRSS"), (ran, "VmHWM"))
    shares = [f"{(found[name] - before['VmRSS' if name == 'VmHWM' else name]) / total:.3f}" for found, name in named]
    print(f"| {past} | {' | '.join(shares)} | {total / 2**20:.0f} MiB |", flush=True)
    del held


TABLES: dict[str, Callable[[int], None]] = {
    "mixed": lambda _: None, "half": lambda _: None,  # of their own arguments
    "host": host, "load": load, "head": head, "layers": layers, "memory": memory,
}  # fmt: skip


def main() -> None:
    """Print every table that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--peft-to", type=int, default=32)
    parser.add_argument("--lengths", action="append", default=[], choices=_LENGTHS)
    parser.add_argument("--only", action="append", default=[], choices=list(TABLES))
    given = parser.parse_args()
    settle()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.rounds} rounds")
    chosen = given.only or list(TABLES)
    for shape in given.shape or ["6x384"]:
        layers, hidden = map(int, shape.split("x"))
        if "mixed" in chosen:
            mixed((layers, hidden), given)
        if "half" in chosen:
            half((layers, hidden), given.rounds, given.texts)
    for name in chosen:
        if name == "memory" and len(chosen) > 1:  # whose figures a process that held other things would hide
            command = [sys.executable, __file__, "--only", "memory", "--rounds", str(given.rounds)]
            subprocess.run(command, check=True)
        elif name not in {"mixed", "half"}:
            TABLES[name](given.rounds)


if __name__ == "__main__":
    main()
