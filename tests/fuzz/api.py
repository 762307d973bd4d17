"""Send generated requests to every route of a registry, the Hub's as well, until so many were answered.

    python -m tests.fuzz.api [--cases 20000] [--seconds S] [--seed 0] [--database sqlite|postgres]

Prints the answers by status. Ends with 1 when one was a fault of the server (5xx but 501, which says that something is
not offered) or a refusal without a reason; these are printed.
"""

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import structlog

from petapter_registry_server.settings import Settings
from tests.fuzz.api_cases import Requests, Seen, operations
from tests.postgres_cluster import find_programs, running_cluster
from tests.registry_server.conftest import running

_AT_ONCE = 10
"""Requests of a kind to an operation before the next one's turn."""


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no further seed after so many seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    statuses: Counter[int] = Counter()
    bad: list[str] = []
    began, number = time.monotonic(), options.seed
    while sum(statuses.values()) < options.cases and time.monotonic() - began < options.seconds:
        seen = _run(options.database, number)
        statuses.update(seen.statuses)
        bad += seen.bad
        number += 1
    print("\n".join(bad), file=sys.stderr)
    found = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    seconds = time.monotonic() - began
    print(
        f"{sum(statuses.values())} requests to {len(list(operations()))} operations over {options.database}, "
        f"seeds {options.seed} to {number - 1}, {seconds:.0f} s; answers by status: {found}; bad: {len(bad)}"
    )
    return 1 if bad else 0


def _run(database: str, number: int) -> Seen:
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data"
        programs = find_programs() if database == "postgres" else None
        url = stack.enter_context(running_cluster(programs)).create("fuzz") if programs else None
        requests = Requests(stack.enter_context(running(Settings(data=data, database=url))), number)
        requests.run(_AT_ONCE)
        return requests.seen


if __name__ == "__main__":
    sys.exit(main())
