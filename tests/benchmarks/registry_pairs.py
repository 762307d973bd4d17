"""Pushes to two versions of the registry in turns: what tells a small gain on a machine that does other things too.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.registry_pairs OTHER [--database sqlite] [--rounds 40] [--large MIB]

OTHER is a checkout of another version, the working tree this one. Each has a server on loopback, and each round pushes
the same new module of 3 MiB to both, now to the one first and now to the other. The body is made before the clock
starts, so that what a client spends on it is left out. `--large` pushes a file of so many MiB instead. Compile both
checkouts first (`python -m compileall -q DIR`). On Linux: the processor's time of the server is that of its threads.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx

from tests.benchmarks.registry_fixture import (
    DATABASES,
    NAMESPACE,
    Place,
    durable_cluster,
    make_repository,
    processor_ms,
)
from tests.benchmarks.registry_transfers import MIB, push_large, small_module
from tests.registry_process import new_token, serving
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import safetensors

OWN = Path(__file__).parents[2]
PACKAGES = (".", "hub_client", "registry_server", "schemas")
REPOSITORY = f"{NAMESPACE}/pairs"
WARM = 5


@dataclass
class Version:
    """One version's server, and what its pushes took."""

    name: str
    place: Place
    client: httpx.Client
    ms: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


@contextmanager
def version_of(name: str, checkout: Path, database: str) -> Iterator[Version]:
    """A server of a checkout over an empty registry."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-pairs-"))) / "data"
        url = stack.enter_context(durable_cluster()).create("pairs") if database == "postgres" else None
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(str((checkout / package).resolve()) for package in PACKAGES)
        try:
            server = stack.enter_context(serving(data, database=url))
        finally:
            os.environ["PYTHONPATH"] = before
        place = Place(database, server, new_token(data, database_url=url), url)
        client = stack.enter_context(place.client())
        make_repository(client, REPOSITORY)
        yield Version(name, place, client)


def push_small(version: Version, listed: list[dict[str, object]], body: bytes) -> None:
    """Announce a module and commit it."""
    at = f"/api/models/{REPOSITORY}"
    version.client.post(f"{at}/preupload/main", json={"files": listed}).raise_for_status()
    version.client.post(f"{at}/commit/main", content=body).raise_for_status()


def take_turns(versions: list[Version], rounds: int, mib: int, scratch: Path) -> None:
    """Push to each in every round, and note what it took."""
    for number in range(WARM + rounds):
        if mib:
            file = scratch / "large.safetensors"
            file.write_bytes(safetensors({"weight": (mib * MIB // 4,)}, fill=float(number)))
            digest = sha256(file.read_bytes()).hexdigest()
        else:
            files = small_module(number)
            listed: list[dict[str, object]] = [
                {"path": path, "size": len(data), "sample": ""} for path, data in files.items()
            ]
            body = commit_body(files)
        for version in versions if number % 2 else reversed(versions):
            work = (
                partial(push_large, version.client, REPOSITORY, file, digest)
                if mib
                else partial(push_small, version, listed, body)
            )
            pid = version.place.server.process.pid
            ran, began = processor_ms(pid), time.perf_counter()
            work()
            took = (time.perf_counter() - began) * 1000
            if number >= WARM:
                version.ms.append(took)
                version.processor.append(processor_ms(pid) - ran)


def main() -> None:
    """Run and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--database", default="sqlite", choices=[*DATABASES])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--large", type=int, default=0, metavar="MIB")
    options = parser.parse_args()
    print(f"Load average {os.getloadavg()[0]:.1f} at the start, {options.database}, {options.rounds} rounds.\n")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-pairs-")))
        versions = [
            stack.enter_context(version_of(_commit(options.other), options.other, options.database)),
            stack.enter_context(version_of("this one", OWN, options.database)),
        ]
        take_turns(versions, options.rounds, options.large, scratch)
    print("| version | p50 ms | least ms | p95 ms | processor p50 ms |\n|---|---|---|---|---|")
    for each in versions:
        high = statistics.quantiles(each.ms, n=20)[-1]
        cells = statistics.median(each.ms), min(each.ms), high, statistics.median(each.processor)
        print(f"| {each.name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    gains = [before - after for before, after in zip(versions[0].ms, versions[1].ms, strict=True)]
    faster = sum(gain > 0 for gain in gains)
    print(f"\nFaster in {faster} of {len(gains)} rounds, by {statistics.median(gains):.1f} ms at the median.")


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
