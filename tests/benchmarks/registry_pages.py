"""What pages cost: p50 and p95 of every kind of page, over a registry that is filled through its tables.

    OMP_NUM_THREADS=1 python tests/benchmarks/registry_pages.py [--modules 1000 100000] [--rounds 60]

The registry is the one of `registry_search.py`, with one module in full (manifest, probe texts, card, two versions)
beside the synthetic ones. A `petapter-registry serve` process on loopback answers one client that keeps its connection
and takes gzip. Every draw of a search has other values. "server ms" is what the server itself logs for the request,
from its first byte to its last; "processor ms" what its threads ran for it (Linux), which on a machine that does other
things too is the figure to read. The aim is a p95 of 60 ms at 100,000 modules.
"""

import argparse
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.registry_fixture import about, processor_ms
from tests.benchmarks.registry_search import BACKBONES, LABEL_SETS, LANGUAGES, SETS, WORDS, filled, skewed
from tests.registry_process import Server, new_token
from tests.registry_server.conftest import commit_body
from tests.registry_server.page_modules import PageModule
from tests.registry_server.varied_modules import Varied

AIM_MS = 60
WARM = 3
LOG_WAIT_S = 30
FULL = "bench/full"


@dataclass(frozen=True)
class Kind:
    """A kind of page, and how the address of one is drawn."""

    name: str
    draw: Callable[[random.Random], str]


def search(*pairs: tuple[str, object]) -> str:
    """An address of the search."""
    return f"/?{urlencode([(name, str(value)) for name, value in pairs])}"


KINDS = (
    Kind("first page", lambda _: "/"),
    Kind("search, a language", lambda d: search(("language", skewed(d, LANGUAGES)))),
    Kind("search, backbone and language",
         lambda d: search(("backbone", skewed(d, BACKBONES)), ("language", skewed(d, LANGUAGES)))),
    Kind("search, two labels", lambda d: search(*(("label", name) for name in skewed(d, tuple(LABEL_SETS))[:2]))),
    Kind("search, a word", lambda d: search(("text", skewed(d, WORDS)))),
    Kind("search, best on a set", lambda d: search(("where", f"macro_f1@{skewed(d, SETS)}>=0"), ("sort", "metric"))),
    Kind("search, nothing matches", lambda d: search(("label", "toxic"), ("label", "ham"), ("text", skewed(d, WORDS)))),
    Kind("module", lambda _: f"/{FULL}"),
    Kind("module, an older version", lambda _: f"/{FULL}?revision=v1.0.0"),
    Kind("compare", lambda _: f"/{FULL}/compare"),
    Kind("organisation", lambda d: f"/team{d.randrange(100)}"),
    Kind("login", lambda _: "/web/login"),
    Kind("not found", lambda d: f"/team1/module-{d.randrange(10**6)}-none"),
)  # fmt: skip


def publish_full(server: Server) -> None:
    """The module in full, by the routes that everybody uses."""
    headers = {"authorization": f"Bearer {new_token(server.data)}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120, trust_env=False) as client:
        namespace, _, name = FULL.partition("/")
        client.post("/api/repos/create", json={"name": name, "organization": namespace}).raise_for_status()
        for number, version in enumerate(("1.0.0", "1.1.0")):
            files = PageModule(Varied(version=version, fill=number / 10)).files()
            client.post(f"/api/models/{FULL}/commit/main", content=commit_body(files)).raise_for_status()
            client.post(f"/api/models/{FULL}/tag/main", json={"tag": f"v{version}"}).raise_for_status()


@dataclass(frozen=True)
class Measured:
    """One request: seen by the client, by the server's log, and by its threads; and the bytes that travelled."""

    client_ms: float
    server_ms: float
    processor_ms: float
    sent_bytes: int


def measure(server: Server, rounds: int) -> dict[str, list[Measured]]:
    """Every kind in turn, so many times."""
    draw = random.Random(11)  # noqa: S311 (a benchmark)
    taken: dict[str, list[Measured]] = {kind.name: [] for kind in KINDS}
    headers = {"accept": "text/html", "accept-encoding": "gzip"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120, trust_env=False) as client:
        for number in range(WARM + rounds):
            for kind in KINDS:
                one = ask(server, client, kind.draw(draw), f"{kind.name.replace(' ', '-').replace(',', '')}-{number}")
                if number >= WARM:
                    taken[kind.name].append(one)
    return taken


def ask(server: Server, client: httpx.Client, address: str, request_id: str) -> Measured:
    """One request, and what the log says of it."""
    processor, began = processor_ms(server.process.pid), time.perf_counter()
    answer = client.get(address, headers={"x-request-id": request_id})
    seconds = time.perf_counter() - began
    if answer.status_code not in {200, 401, 404}:
        sys.exit(f"{address}: {answer.status_code} {answer.text[:300]}")
    server_ms = logged_ms(server, request_id)
    sent = answer.num_bytes_downloaded
    return Measured(seconds * 1000, server_ms, processor_ms(server.process.pid) - processor, sent)


def logged_ms(server: Server, request_id: str) -> float:
    """What the log says of a request; its line is written when the answer has been sent, so maybe a moment later."""
    ends = time.monotonic() + LOG_WAIT_S
    while time.monotonic() < ends:
        if found := re.search(rf"^.* request_id={request_id} .*$", server.log, re.MULTILINE):
            return float(re.search(r"\bms=([0-9.]+)", found[0])[1])  # type: ignore[index]
        time.sleep(0.002)
    sys.exit(f"the log has no line of the request {request_id}")


def report(modules: int, rounds: int) -> Iterator[str]:
    """The figures of one size, as Markdown."""
    with filled("sqlite", modules) as registry:
        server = registry.server
        publish_full(server)
        yield f"\n## {modules:,} modules on SQLite\n\nFilled in {registry.seconds:.0f} s; "
        yield f"the database has {registry.size_mib:.0f} MiB. "
        yield f"Aim: a p95 of {AIM_MS} ms on the server.\n" if modules == 100_000 else ""
        yield "| page | server p50 ms | p95 ms | processor p50 ms | p95 ms | client p50 ms | sent KiB |"
        yield "|---|---|---|---|---|---|---|"
        for name, taken in measure(server, rounds).items():
            server_ms, processor = [one.server_ms for one in taken], [one.processor_ms for one in taken]
            cells = [*middle_and_high(server_ms), *middle_and_high(processor)]
            cells += [statistics.median(one.client_ms for one in taken), max(one.sent_bytes for one in taken) / 1024]
            yield f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |"


def middle_and_high(values: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]


def main() -> None:
    """Run and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    print(about())
    for modules in options.modules:
        for line in report(modules, options.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
