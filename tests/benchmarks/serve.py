"""What HTTP costs: the service with 64 clients by the engine in this process, on the same rows in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/serve.py [--seconds 10] [--rounds 3] [--clients 64] [--hot-seconds 60]

Eight modules of two tasks on `minilm` and the demo's test texts, one text per request. Engine and service take turns on
core 0, the clients sit on core 1. Beside seconds on the clock, the processor seconds of engine and service per text are
compared: those do not depend on what else the machine does. Latencies, too, are told by the clock and by what the
service used of its processor from when a text was asked until its answer was there. Then modules come from a registry
process and go again, 100 of each a minute, while the clients ask on; that process sits on core 1 too.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))
from petapter import Backbone, Engine, ModuleInfo, TrainingOptions, read_examples, read_task, save_module, train
from petapter_hub_client import resolve_backbone
from petapter_hub_client.local_runs import load_backbone
from tests.registry_process import BIN, Server, new_token, serving

DATA = Path(__file__).parents[2] / "hub_client" / "petapter_hub_client" / "demo" / "data"
TASKS = ("snips", "banking77")
SEEDS = 4
TOKEN = "benchmark-token-benchmark"
LOADS_PER_MINUTE = 100
WARM_S = 2


@dataclass(frozen=True)
class Asked:
    """What the clients saw: seconds of each answer that came in time, also by the service's clock, and errors."""

    seconds: list[float]
    processor: list[float]
    errors: int
    lasted: float


@dataclass(frozen=True)
class Rate:
    """Texts per second on the clock, processor seconds per text, and the slowest batches by the mean one."""

    per_second: float
    processor: float
    slowest: float = 1.0

    def clock(self) -> float:
        """What the better of two is told by."""
        return self.per_second


def build(folder: Path, backbone: Backbone) -> list[Path]:
    """Module directories of both tasks."""
    made = []
    for task_name in TASKS:
        task = read_task(DATA / task_name / "task.yaml")
        rows = read_examples(DATA / task_name / "train.csv", task)
        for seed in range(SEEDS):
            made.append(folder / f"{task_name}-{seed}")
            trained = train(task, rows, backbone, TrainingOptions(steps=8, batch_size=8, seed=seed))
            save_module(trained, made[-1], ModuleInfo(made[-1].name))
    return made


def rows_of(modules: list[Path]) -> list[tuple[str, str]]:
    """Every test text for one of its task's modules."""
    rows = []
    for task_name in TASKS:
        task = read_task(DATA / task_name / "task.yaml")
        names = itertools.cycle([module.name for module in modules if module.name.startswith(task_name)])
        examples = read_examples(DATA / task_name / "test.csv", task)
        rows.append([(name, example.fields["text"]) for name, example in zip(names, examples, strict=False)])
    first, second = rows
    return [row for pair in zip(first, itertools.cycle(second), strict=False) for row in pair]


def engine_rate(engine: Engine, rows: list[tuple[str, str]], batch: int, seconds: float) -> Rate:
    """The engine alone, in batches."""
    batches = itertools.cycle([rows[at : at + batch] for at in range(0, len(rows) - batch, batch)])
    took: list[float] = []
    began, processor = time.perf_counter(), time.process_time()
    while (start := time.perf_counter()) - began < seconds:
        engine.predict(next(batches))
        took.append(time.perf_counter() - start)
    texts = batch * len(took)
    slowest = quantile(took, 0.99) / statistics.mean(took)
    return Rate(texts / (time.perf_counter() - began), (time.process_time() - processor) / texts, slowest)


def processor_seconds(pid: int) -> float:
    """What a process has used, all its threads together, by its clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


@contextmanager
def service(
    modules: list[Path], batch: int, environment: dict[str, str], *options: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`petapter serve` on core 0, and its address."""
    named = [part for module in modules for part in ("--module", str(module))]
    command = [str(BIN / "petapter"), "serve", *named, "--port", "0", "--batch", str(batch), "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    os.sched_setaffinity(process.pid, {0})
    assert process.stdout is not None
    said = "".join(iter(process.stdout.readline, "}\n")) + "}"
    try:
        yield process, json.loads(said)["url"]
    finally:
        process.terminate()
        assert process.wait(60) == 0


def clients(url: str, pid: int, rows: Path, count: int, seconds: float) -> "subprocess.Popen[str]":
    """Clients of a service in a process of their own on core 1."""
    command = [sys.executable, __file__, "clients", url, str(pid), str(rows), str(count), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(process.pid, {1})
    return process


def heard(process: "subprocess.Popen[str]") -> Asked:
    """What they saw."""
    out, _ = process.communicate()
    return Asked(**json.loads(out))


async def ask_all(url: str, pid: int, rows: list[tuple[str, str]], count: int, seconds: float) -> Asked:
    """Clients that each ask one text at a time, for so many seconds after warming up."""
    host, port = url.removeprefix("http://").split(":")
    requests = itertools.cycle([(module, request_of(module, text)) for module, text in rows])
    took: list[float] = []
    used: list[float] = []
    errors = 0
    begun = time.perf_counter() + WARM_S
    end = begun + seconds

    async def one() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        while (start := time.perf_counter()) < end:
            module, request = next(requests)
            processor = processor_seconds(pid)
            writer.write(request)
            right = is_answer(module, *await answer_of(reader))
            errors += not right
            if right and begun <= (now := time.perf_counter()) <= end:
                took.append(now - start)
                used.append(processor_seconds(pid) - processor)
        writer.close()

    await asyncio.gather(*(one() for _ in range(count)))
    return Asked(took, used, errors, seconds)


def request_of(module: str, text: str) -> bytes:
    """A whole request: a client of few lines leaves the processor to the service, which httpx does not."""
    body = json.dumps({"inputs": [{"module": module, "text": text}]}).encode()
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n".encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head, await reader.readexactly(int(length.partition(b":")[2]))


def is_answer(module: str, head: bytes, body: bytes) -> bool:
    """Whether a module answered, and the one that was asked."""
    return head.startswith(b"HTTP/1.1 200 ") and bool(json.loads(body)["answers"][0]["module"] == module)


class Changes(threading.Thread):
    """Loads a module from the registry and unloads it again, so often a minute; another is replaced all the time."""

    def __init__(self, url: str, references: list[str]) -> None:
        super().__init__()
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        self._references = itertools.cycle(references)
        self.done = threading.Event()
        self.loads = self.unloads = self.replaced = self.errors = 0
        self.lasted = 0.0

    def _put(self, alias: str) -> None:
        answer = self._client.put(f"/v1/modules/{alias}", json={"module": next(self._references)})
        self.errors += answer.status_code not in {200, 201}
        self.replaced += answer.status_code == 200
        self.loads += 1

    def run(self) -> None:
        """Until told; every tenth load replaces the module `swapped`, which is asked all the time."""
        due = began = time.monotonic()
        for turn in itertools.count():
            if self.done.wait(max(0, due - time.monotonic())):
                self.lasted = time.monotonic() - began
                return
            due += 60 / LOADS_PER_MINUTE
            if turn % 10 == 0:
                self._put("swapped")  # unloads what it replaces
                continue
            self._put("guest")
            self.errors += self._client.delete("/v1/modules/guest").status_code != 204
            self.unloads += 1


def push_all(modules: list[Path], registry: Server, environment: dict[str, str]) -> list[str]:
    """Put the modules on a registry; their references."""
    for arguments in (
        ("remote", "add", "lab", registry.url, "--default"),
        ("login", "lab", "--token", new_token(registry.data)),
        *(("push", str(module), f"lab:team/{module.name}") for module in modules),
    ):
        subprocess.run([BIN / "petapter", *arguments], env=environment, check=True, capture_output=True)
    return [f"lab:team/{module.name}" for module in modules]


def quantile(values: list[float], share: float) -> float:
    """Of sorted values, the one below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@dataclass(frozen=True)
class Batches:
    """What a service ran so far, by its own metrics, and what it used in all."""

    seconds: float
    count: float
    processor: float

    @classmethod
    def of(cls, url: str, pid: int) -> Self:
        """Read them."""
        lines = [line.split() for line in httpx.get(f"{url}/metrics").text.splitlines()]
        found = {line[0]: line[1] for line in lines if line[0].startswith("petapter_batch_seconds_")}
        seconds, count = (float(found[f"petapter_batch_seconds_{name}"]) for name in ("sum", "count"))
        return cls(seconds, count, processor_seconds(pid))

    def mean_since(self, before: Self) -> tuple[float, float]:
        """Seconds of a batch since then, and processor seconds by batch, with all else that the service did."""
        count = self.count - before.count
        return (self.seconds - before.seconds) / count, (self.processor - before.processor) / count


def told(asked: Asked, mean: tuple[float, float]) -> str:
    """Latencies in words, beside the mean seconds of a batch meanwhile."""
    batch, own = mean
    p50, p99 = quantile(asked.seconds, 0.5), quantile(asked.seconds, 0.99)
    return (
        f"p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms = {p99 / batch:.2f}x the mean batch of {1e3 * batch:.0f} ms, "
        f"by processor time {quantile(asked.processor, 0.99) / own:.2f}x that of {1e3 * own:.0f} ms, "
        f"{asked.errors} errors of {len(asked.seconds)}"
    )


def one_round(
    given: argparse.Namespace, engine: Engine, process: "subprocess.Popen[str]", url: str, rows_file: Path
) -> tuple[Rate, Rate, str]:
    """The engine, then the service with its clients, and their latencies in words."""
    rows = json.loads(rows_file.read_text(encoding="utf-8"))
    sizes = (given.batch, given.clients)
    here = max((engine_rate(engine, rows, size, given.seconds / 2) for size in sizes), key=Rate.clock)
    asking = clients(url, process.pid, rows_file, given.clients, given.seconds)
    before = Batches.of(url, process.pid)
    asked = heard(asking)
    after = Batches.of(url, process.pid)
    answered = len(asked.seconds) * (asked.lasted + WARM_S) / asked.lasted
    there = Rate(len(asked.seconds) / asked.lasted, (after.processor - before.processor) / answered)
    return here, there, told(asked, after.mean_since(before))


def compare(given: argparse.Namespace, backbone: Backbone, modules: list[Path], rows_file: Path) -> None:
    """Engine and service in turn, on the same core and rows."""
    clock: list[float] = []
    processor: list[float] = []
    print("| engine, texts/s | service, texts/s | ratio | by processor time | p99 of the engine's batches | latency |")
    print("| " + "---: | " * 5 + "--- |")
    with service(modules, given.batch, dict(os.environ)) as (process, url), Engine(backbone) as engine:
        for module in modules:
            engine.load(module, module.name)
        engine_rate(engine, json.loads(rows_file.read_text(encoding="utf-8")), given.batch, WARM_S)
        for _ in range(given.rounds):
            here, there, latency = one_round(given, engine, process, url, rows_file)
            clock.append(there.per_second / here.per_second)
            processor.append(here.processor / there.processor)
            rates = f"{here.per_second:.0f} | {there.per_second:.0f} | {clock[-1]:.2f} | {processor[-1]:.2f}"
            print(f"| {rates} | {here.slowest:.1f}x their mean | {latency} |", flush=True)
    print(
        f"\nmedian of the rounds: {statistics.median(clock):.2f} of the engine's texts/s by the clock, "
        f"{statistics.median(processor):.2f} by processor time"
    )


def change(given: argparse.Namespace, modules: list[Path], folder: Path, rows_file: Path) -> None:
    """Clients ask while modules come and go."""
    environment = os.environ | {
        "PETAPTER_CONFIG_DIR": str(folder / "config"),
        "PETAPTER_CACHE_DIR": os.environ.get("PETAPTER_CACHE_DIR") or str(Path.home() / ".cache" / "petapter"),
        "PETAPTER_SERVE_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
    }
    rows = json.loads(rows_file.read_text(encoding="utf-8"))
    mixed = folder / "mixed.json"
    mixed.write_text(json.dumps([row for row in rows[:200] for row in (row, ["swapped", row[1]])]))
    with serving(folder / "registry") as registry:
        references = push_all(modules, registry, environment)
        options = ["--check"] if given.check else []
        with service(modules, given.batch, environment, *options) as (process, url):
            changes = Changes(url, references)
            changes._put("swapped")
            before = Batches.of(url, process.pid)
            changes.start()
            asked = heard(clients(url, process.pid, mixed, given.clients, given.hot_seconds))
            changes.done.set()
            changes.join()
            batch = Batches.of(url, process.pid).mean_since(before)
    minutes, unloads = changes.lasted / 60, changes.unloads + changes.replaced
    print(
        f"\n{changes.loads / minutes:.0f} loads and {unloads / minutes:.0f} unloads a minute, {changes.replaced} of "
        f"them in the place of a module that was asked: {len(asked.seconds) / asked.lasted:.0f} texts/s, "
        f"{told(asked, batch)}, {changes.errors} errors of {changes.loads + changes.unloads} loads and unloads",
        flush=True,
    )


def main() -> None:
    """Print it all, or be the clients."""
    if sys.argv[1:2] == ["clients"]:
        url, pid, rows, count, seconds = sys.argv[2:7]
        read = json.loads(Path(rows).read_text(encoding="utf-8"))
        print(json.dumps(asdict(asyncio.run(ask_all(url, int(pid), read, int(count), float(seconds))))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hot-seconds", type=float, default=60)
    parser.add_argument("--check", action="store_true", help="what is loaded then reproduces its golden outputs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = load_backbone(resolve_backbone("minilm"))  # as the service does
        modules = build(folder, backbone)
        rows_file = folder / "rows.json"
        rows_file.write_text(json.dumps(rows_of(modules)))
        os.sched_setaffinity(0, {0})
        if given.rounds:
            compare(given, backbone, modules, rows_file)
        os.sched_setaffinity(0, {1})  # a registry, and who has modules loaded, are elsewhere: not on the service's core
        if given.hot_seconds:
            change(given, modules, folder, rows_file)


if __name__ == "__main__":
    main()
