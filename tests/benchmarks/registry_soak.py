"""Garbage collection every two seconds, without any grace, against clients who push and pull at the same time.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.registry_soak [--seconds 1200] [--pushers 16] [--pullers 16]
        [--every 2] [--only sqlite|postgres]

Pushers make repositories, push one of 150 contents, and delete their oldest repository, so that the same blobs are
condemned, revived, deleted and stored again all the time. Pullers take a repository that is not to be deleted yet and
compare every byte. Prints a table and ends with 1 when a client saw anything but what it should, or nothing was ever
deleted.
"""

import argparse
import os
import random
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.benchmarks.registry_fixture import Place, registry
from tests.registry_server.conftest import commit_body

KEPT = 3
"""Repositories of one pusher before it deletes the oldest."""

CONTENTS = tuple(
    {f"{n}.txt": b"%d" % n * 1000, "shared.txt": b"%d" % (n % 40) * 900, "README.md": b"# %d" % (n % 2)}
    for n in range(150)
)
"""About a third is in use at any time; the others are condemned and deleted, until somebody pushes them again."""
FINDING = re.compile(r"deed=\"garbage collection\".*deleted=(\d+)")


@dataclass
class Repository:
    """One that can be pulled; `readers` are pulling it now."""

    name: str
    oid: str
    files: dict[str, bytes]
    readers: int = 0


@dataclass
class Soak:
    """What all clients share, and what they saw."""

    place: Place
    until: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    there: list[Repository] = field(default_factory=list)
    pushes: int = 0
    pulls: int = 0
    failures: list[str] = field(default_factory=list)

    def push_on(self, number: int) -> None:
        """Push and delete until the time is over."""
        own: deque[Repository] = deque()
        chance = random.Random(f"pusher {number}")  # noqa: S311 (a benchmark)
        with self.place.client() as client:
            for round_number in range(1 << 30):
                if time.monotonic() > self.until:
                    return
                own.append(self._push(client, f"soak{number}/r{round_number}", chance.choice(CONTENTS)))
                if len(own) > KEPT:
                    self._delete(client, own.popleft())

    def pull_on(self, number: int) -> None:
        """Pull whatever is there until the time is over."""
        chance = random.Random(number)  # noqa: S311 (a benchmark)
        with self.place.client() as client:
            while time.monotonic() < self.until:
                with self.lock:
                    repository = chance.choice(self.there) if self.there else None
                    if repository is not None:
                        repository.readers += 1
                if repository is None:
                    time.sleep(0.01)
                else:
                    self._pull(client, repository)

    def _push(self, client: httpx.Client, name: str, files: dict[str, bytes]) -> Repository:
        namespace, _, short = name.partition("/")
        made = client.post("/api/repos/create", json={"name": short, "organization": namespace})
        answer = client.post(f"/api/models/{name}/commit/main", content=commit_body(files))
        repository = Repository(name, answer.json().get("commitOid", ""), files)
        with self.lock:
            self.pushes += 1
            self._judge(name, made, answer)
            self.there.append(repository)
        return repository

    def _delete(self, client: httpx.Client, repository: Repository) -> None:
        with self.lock:
            self.there.remove(repository)
        while repository.readers:
            time.sleep(0.005)
        namespace, _, short = repository.name.partition("/")
        answer = client.request("DELETE", "/api/repos/delete", json={"name": short, "organization": namespace})
        with self.lock:
            self._judge(repository.name, answer)

    def _pull(self, client: httpx.Client, repository: Repository) -> None:
        for path, data in repository.files.items():
            answer = client.get(f"/{repository.name}/resolve/{repository.oid}/{path}")
            with self.lock:
                self._judge(f"{repository.name} {path}", answer)
                if answer.is_success and answer.content != data:
                    self.failures.append(f"{repository.name} {path}: other bytes")
        with self.lock:
            self.pulls += 1
            repository.readers -= 1

    def _judge(self, what: str, *answers: httpx.Response) -> None:
        self.failures += [f"{what}: {answer.status_code} {answer.text[:200]}" for answer in answers if answer.is_error]

    def watched(self, work: Callable[[int], None]) -> Callable[[int], None]:
        """The same work; what it raises is a failure too."""

        def run(number: int) -> None:
            try:
                work(number)
            except (httpx.HTTPError, ValueError) as error:
                with self.lock:
                    self.failures.append(f"{work.__name__} {number}: {error!r}")

        return run


def main() -> int:
    """Run, print a line for each database, and return the exit code."""
    options = _options()
    os.environ["PETAPTER_REGISTRY_GC_INTERVAL_S"] = str(options.every)
    os.environ["PETAPTER_REGISTRY_GC_GRACE_S"] = "0"
    print("| database | seconds | pushers | pullers | pushes | pulls | collections | blobs deleted | failures |")
    print("|---|---|---|---|---|---|---|---|---|")
    return max(_run(kind, options) for kind in ([options.only] if options.only else ["sqlite", "postgres"]))


def _run(kind: str, options: argparse.Namespace) -> int:
    with registry(kind) as place:
        soak = Soak(place, time.monotonic() + options.seconds)
        work = [(soak.push_on, n) for n in range(options.pushers)] + [(soak.pull_on, n) for n in range(options.pullers)]
        threads = [threading.Thread(target=soak.watched(deed), args=(number,)) for deed, number in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        deleted = [int(number) for number in FINDING.findall(place.server.log)]
    print("\n".join(soak.failures[:20]), file=sys.stderr)
    cells = (kind, f"{options.seconds:.0f}", options.pushers, options.pullers, soak.pushes, soak.pulls, len(deleted))
    print(f"| {' | '.join(map(str, cells))} | {sum(deleted)} | {len(soak.failures)} |", flush=True)
    return 1 if soak.failures or not sum(deleted) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--pushers", type=int, default=16)
    parser.add_argument("--pullers", type=int, default=16)
    parser.add_argument("--every", type=float, default=2, help="seconds between two collections")
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
