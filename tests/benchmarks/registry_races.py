"""Races for names, tags, branches and versions on SQLite and on three replicas over PostgreSQL: who wins, and any 500.

    python -m tests.benchmarks.registry_races [--rounds 200] [--clients 64] [--writers 32] [--each 4]
        [--race NAME ...] [--only sqlite|postgres] [--minutes M]

Prints a table. Every round must have exactly one winner, every loser 409 or 412 (or the winner's own commit, for one
commit sent by all), what a published version holds must be its winner's, and compare-and-swap increments must lose
none. Ends with 1 when that does not hold. The rounds that it prints are those that were run.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import registry_races as races
from tests.postgres_cluster import find_programs, running_cluster
from tests.registry_process import new_token, serving

REPLICAS = 3
RACES = {
    "one version of a module, published with other weights by each": races.race_for_versions,
    "one branch moved from one parent": races.race_for_branches,
    "the same commit sent by all": races.race_with_one_commit,
    "one tag that is no version": races.race_for_tags,
    "one new name": races.race_for_names,
}
INCREMENTS = "increments"


def main() -> int:
    """Run the races and return the exit code."""
    options = _options()
    print("| database | servers | race | rounds | clients | answers by status | rounds without one winner | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    bad = 0
    for kind in [options.only] if options.only else ["sqlite", "postgres"]:
        with _servers(kind) as (urls, token):
            bad += _races(f"| {kind} | {len(urls)}", urls, token, options)
    return 1 if bad else 0


def _races(start: str, urls: list[str], token: str, options: argparse.Namespace) -> int:
    bad = 0
    with races.Racers(urls, token, options.clients, options.minutes * 60) as racers:
        for name in (name for name in RACES if name in options.race):
            began = time.perf_counter()
            outcome = RACES[name](racers, options.rounds)
            bad += len(outcome.bad_rounds)
            print(*outcome.bad_rounds, sep="\n", file=sys.stderr)
            size = f"{outcome.statuses.total() // options.clients} | {options.clients}"
            _print(start, name, size, outcome, len(outcome.bad_rounds), began)
    return bad + (_increments(start, urls, token, options) if INCREMENTS in options.race else 0)


def _increments(start: str, urls: list[str], token: str, options: argparse.Namespace) -> int:
    with races.Racers(urls, token, options.writers) as racers:
        began = time.perf_counter()
        value, outcome = races.increment(racers, options.each)
        lost = options.writers * options.each - value
        _print(start, INCREMENTS, f"{options.each} | {options.writers}", outcome, f"{lost} lost updates", began)
    return abs(lost)


def _print(start: str, name: str, size: str, outcome: races.Outcome, bad: object, began: float) -> None:
    statuses = ", ".join(f"{status}: {number}" for status, number in sorted(outcome.statuses.items()))
    seconds = time.perf_counter() - began
    print(f"{start} | {name} | {size} | {statuses} | {bad} | {seconds:.1f} |", flush=True)


@contextmanager
def _servers(kind: str) -> Iterator[tuple[list[str], str]]:
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-races-"))) / "data"
        url = None
        if kind == "postgres":
            programs = find_programs()
            if programs is None:
                sys.exit("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
            url = stack.enter_context(running_cluster(programs)).create("races")
        count = REPLICAS if url else 1
        servers = [stack.enter_context(serving(data, database=url, replica=f"-{n}")) for n in range(count)]
        yield [server.url for server in servers], new_token(data, database_url=url)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no round of a race begins")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--writers", type=int, default=32)
    parser.add_argument("--each", type=int, default=4, help="increments of each writer")
    parser.add_argument("--race", nargs="+", default=[*RACES, INCREMENTS], choices=[*RACES, INCREMENTS])
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
