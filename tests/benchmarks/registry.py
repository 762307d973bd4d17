"""The registry's figures, each against a real `petapter-registry serve` on loopback.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.registry [--only requests clients push again large idle restart]
        [--databases sqlite postgres] [--seconds 5] [--rounds 20] [--mib 256] [--restarts 100] [--out FILE]

Prints each part as Markdown and puts it into the results file in the place of its last figures; the other parts stay as
they are, each with the machine that it was measured on. Files lie where temporary files do (TMPDIR): not on a tmpfs,
where `fsync` costs nothing. `registry_search.py` measures searches, `registry_faults.py`, `registry_races.py`,
`registry_fire.py` and `registry_soak.py` what must not go wrong.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx

from tests.benchmarks import registry_transfers as transfers
from tests.benchmarks.plain_http import Outcome, ask_for, prepared
from tests.benchmarks.registry_fixture import (
    DATABASES,
    NAMESPACE,
    Place,
    about,
    kill_in_a_push,
    make_modules,
    processor_ms,
    registry,
    resident_mib,
)
from tests.registry_process import serving

RESULTS = Path(__file__).with_name("results") / "registry.md"
MODULES = 50
OPEN_CLIENTS = 500
INTRODUCTION = """# What the registry does in a second, and what it takes

Written by `python -m tests.benchmarks.registry`, whose first lines say how each part is measured. Every part names its
command and machine; parts of other days and loads do not compare.
"""


def requests(options: argparse.Namespace) -> Iterable[str]:
    """Metadata: answers in a second of one server process, beside the empty `GET /health`."""
    yield "Aim: 1,500 in a second per worker.\n"
    yield row("database", "request", "clients", "in a second", "p50 ms", "p95 ms", "processor ms each", "errors")
    yield rule(8)
    for kind in options.databases:
        with registry(kind) as place:
            for name, asked in _questions(place).items():
                for clients in (1, 8):
                    yield _requests_row(place, name, asked, clients, options.seconds)


def _questions(place: Place) -> dict[str, list[bytes]]:
    names = make_modules(place, MODULES)
    with_token = "with a token"
    return {
        "GET /health": [prepared("GET", "/health")],
        f"GET /api/models/ns/name, {with_token}": [
            prepared("GET", f"/api/models/{name}", place.token) for name in names
        ],
        "the same without": [prepared("GET", f"/api/models/{name}") for name in names],
        f"HEAD …/resolve/main/petapter.json, {with_token}": [
            prepared("HEAD", f"/{name}/resolve/main/petapter.json", place.token) for name in names
        ],
        "GET of the same": [prepared("GET", f"/{name}/resolve/main/petapter.json", place.token) for name in names],
    }


def _requests_row(place: Place, name: str, asked: list[bytes], clients: int, seconds: float) -> str:
    ask_for(place.server.url, asked, clients=clients, seconds=1)  # warm
    ran = processor_ms(place.server.process.pid)
    outcome = ask_for(place.server.url, asked, clients=clients, seconds=seconds)
    ran = (processor_ms(place.server.process.pid) - ran) / len(outcome.ms)
    rate = f"{outcome.per_second:,.0f}"
    return row(place.kind, name, clients, rate, *_middle_and_high(outcome), f"{ran:.2f}", len(outcome.errors))


def clients(options: argparse.Namespace) -> Iterable[str]:
    """Many open clients, each with a connection, who ask for metadata and small files."""
    yield "Aim: 500 clients without an error.\n"
    yield row("database", "clients", "answers", "in a second", "p50 ms", "p99 ms", "errors")
    yield rule(7)
    for kind in options.databases:
        with registry(kind) as place:
            asked = [request for asked in _questions(place).values() for request in asked]
            outcome = ask_for(place.server.url, asked, clients=OPEN_CLIENTS, seconds=2 * options.seconds)
            high = f"{statistics.quantiles(outcome.ms, n=100)[-1]:.0f}"
            middle, errors = f"{statistics.median(outcome.ms):.0f}", len(outcome.errors)
            yield row(kind, OPEN_CLIENTS, f"{len(outcome.ms):,}", f"{outcome.per_second:,.0f}", middle, high, errors)


def push(options: argparse.Namespace) -> Iterable[str]:
    """A module of 3 MiB from the folder to the moved branch."""
    yield "Aim: p50 of 60 ms, embedded. Each push has other weights; the two ways take turns.\n"
    yield row("database", "client", "pushes", "p50 ms", "p95 ms")
    yield rule(5)
    for kind in options.databases:
        with registry(kind) as place:
            for name, seconds in transfers.push_seconds(place, options.rounds).items():
                high = statistics.quantiles(seconds, n=20)[-1] * 1000
                yield row(kind, name, len(seconds), f"{transfers.middle_ms(seconds):.0f}", f"{high:.0f}")


def again(options: argparse.Namespace) -> Iterable[str]:
    """The same module again: what goes over the wire."""
    yield "Aim: 0 bytes of files. Counted by a relay, requests with their headers and file names included.\n"
    yield row("database", "bytes sent, first push", "bytes sent, same again", "a new commit")
    yield rule(4)
    for kind in options.databases:
        with registry(kind) as place:
            first, second, new = transfers.bytes_pushed(place)
            yield row(kind, f"{first:,}", f"{second:,}", "yes" if new else "no")


def large(options: argparse.Namespace) -> Iterable[str]:
    """A large file, beside a server of a few lines that speaks HTTP and hashes (`http_sha256.py`), in turns."""
    yield "Aim: 75 % of the baseline. The client reads the file as it sends, and hashes what it gets.\n"
    yield row("database", "what", "MiB", "MiB in a second", "baseline", "share", "baseline that syncs", "share of it")
    yield rule(8)
    for kind in options.databases:
        with registry(kind) as place:
            seconds = transfers.large_seconds(place, options.mib, options.large_rounds)
            for what in ("push", "pull"):
                rates = {name: options.mib / statistics.median(each) for name, each in seconds.items()}
                own, other, synced = rates[what], rates[f"{what}, baseline"], rates.get(f"{what}, synced")
                beside = (f"{synced:.0f}", f"{own / synced:.0%}") if synced else ("", "")
                yield row(kind, what, options.mib, f"{own:.0f}", f"{other:.0f}", f"{own / other:.0%}", *beside)


def idle(options: argparse.Namespace) -> Iterable[str]:
    """Memory of a server that nobody asks."""
    yield "Aim: 150 MiB.\n"
    yield row("database", "after the start, MiB", "after 50 pushes and some thousand answers, MiB")
    yield rule(3)
    for kind in options.databases:
        with registry(kind) as place:
            before = resident_mib(place.server.process.pid)
            asked = [request for asked in _questions(place).values() for request in asked]
            ask_for(place.server.url, asked, clients=32, seconds=options.seconds)
            yield row(kind, f"{before:.0f}", f"{resident_mib(place.server.process.pid):.0f}")


def restart(options: argparse.Namespace) -> Iterable[str]:
    """From the start of the program after a `kill -9` in the middle of pushes to the first answer."""
    yield "Aim: 2 s. Every restart follows a kill of its own, up to 0.1 s after a push was acknowledged.\n"
    yield row("database", "restarts", "median s", "longest s")
    yield rule(4)
    for kind in options.databases:
        with registry(kind) as place:
            make_modules(place, MODULES)
            seconds = []
            kill_in_a_push(place, place.server)
            for _ in range(options.restarts):
                began = time.perf_counter()
                with serving(place.server.data, database=place.database) as server:
                    httpx.get(f"{server.url}/api/models/{NAMESPACE}/m0").raise_for_status()
                    seconds.append(time.perf_counter() - began)
                    kill_in_a_push(place, server)
            yield row(kind, len(seconds), f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")


PARTS: dict[str, Callable[[argparse.Namespace], Iterable[str]]] = {
    "requests": requests, "clients": clients, "push": push, "again": again, "large": large, "idle": idle,
    "restart": restart,
}  # fmt: skip


def row(*cells: object) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def rule(columns: int) -> str:
    """The line under a table's head."""
    return "|" + "---|" * columns


def put_section(file: Path, name: str, text: str) -> None:
    """Put a part into the results file, in the place of its last figures; parts stand in the order of `PARTS`."""
    old = file.read_text(encoding="utf-8") if file.exists() else INTRODUCTION
    introduction, *sections = old.split("\n## ")
    found = {section.partition("\n")[0]: section.partition("\n")[2] for section in sections} | {name: f"\n{text}\n"}
    ordered = [*(part for part in PARTS if part in found), *(other for other in found if other not in PARTS)]
    body = "".join(f"\n## {part}\n{found[part].rstrip()}\n" for part in ordered)
    file.write_text(f"{introduction.rstrip()}\n{body}", encoding="utf-8")


def main() -> None:
    """Measure, print, and write down."""
    options = _options()
    for name in options.only:
        lines = [PARTS[name].__doc__ or "", "", f"    {_command()}", "", about(), ""]
        print(f"\n## {name}\n\n" + "\n".join(lines))
        for line in PARTS[name](options):
            print(line, flush=True)
            lines.append(line)
        put_section(options.out, name, "\n".join(lines))


def _command() -> str:
    return " ".join(["python -m tests.benchmarks.registry", *sys.argv[1:]])


def _middle_and_high(outcome: Outcome) -> tuple[str, str]:
    return f"{statistics.median(outcome.ms):.1f}", f"{statistics.quantiles(outcome.ms, n=20)[-1]:.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*PARTS], choices=[*PARTS])
    parser.add_argument("--databases", nargs="+", default=[*DATABASES], choices=[*DATABASES])
    parser.add_argument("--seconds", type=float, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=20, help="small pushes of each kind")
    parser.add_argument("--large-rounds", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--mib", type=int, default=256, help="size of the large file")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
