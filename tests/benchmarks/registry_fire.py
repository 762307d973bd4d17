"""Commits while replicas are killed, and while the primary PostgreSQL server is: what clients saw, and what was lost.

    python -m tests.benchmarks.registry_fire replicas [--seconds 300] [--every 5] [--clients 16]
    python -m tests.benchmarks.registry_fire failover [--seconds 60] [--clients 16]

Clients try again after a lost connection or a 503, at another replica. `replicas` kills one of three with SIGKILL every
few seconds and starts it again on its port. `failover` kills the primary with SIGKILL halfway and promotes its
synchronous standby. Ends with 1 when a client failed or an acknowledged commit is not in the history with its bytes.
"""

import argparse
import itertools
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from tests.postgres_cluster import find_programs, running_cluster
from tests.registry_failover import Pair, pair
from tests.registry_fire import Load
from tests.registry_process import Server, new_token, start

REPLICAS = 3


def main() -> int:
    """Run one scenario and return the exit code."""
    options = _options()
    programs = find_programs()
    if programs is None:
        sys.exit("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="petapter-fire-"))) / "data"
        if options.scenario == "failover":
            servers = stack.enter_context(pair(programs))
            with _Replicas(data, servers.url) as replicas:
                return _report(*_fail_over(replicas, servers, options))
        url = stack.enter_context(running_cluster(programs)).create("fire")
        with _Replicas(data, url) as replicas:
            return _report(*_kill_replicas(replicas, options))


class _Replicas:
    """Three servers, each of which can be killed and started again."""

    def __init__(self, data: Path, url: str) -> None:
        self._data, self._url = data, url
        self._servers = [start(data, database=url, replica=f"-{number}") for number in range(REPLICAS)]

    def __enter__(self) -> "_Replicas":  # noqa: PYI034 (private)
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self._servers:
            server.kill()

    def load(self, clients: int) -> Load:
        token = new_token(self._data, database_url=self._url)
        return Load([server.url for server in self._servers], token, clients)

    def kill_and_start(self, number: int) -> None:
        server: Server = self._servers[number]
        server.kill()
        port = int(server.url.rpartition(":")[2])
        self._servers[number] = start(self._data, database=self._url, replica=f"-{number}", port=port)


def _kill_replicas(replicas: _Replicas, options: argparse.Namespace) -> tuple[Load, str]:
    with closing(replicas.load(options.clients)) as load:
        load.begin()
        began = time.monotonic()
        for kills in itertools.count():
            at = began + (kills + 1) * options.every
            time.sleep(max(0.0, at - time.monotonic()))  # later where a server takes longer to come back
            if time.monotonic() > began + options.seconds:
                break
            replicas.kill_and_start(kills % REPLICAS)
        return _finish(load, f"{kills} kills of replicas")


def _fail_over(replicas: _Replicas, servers: Pair, options: argparse.Namespace) -> tuple[Load, str]:
    with closing(replicas.load(options.clients)) as load:
        load.begin()
        time.sleep(options.seconds / 2)
        before = load.acknowledged()
        servers.fail_over()
        time.sleep(options.seconds / 2)
        return _finish(load, f"1 kill of the primary after {before} commits")


def _finish(load: Load, deed: str) -> tuple[Load, str]:
    load.end()
    lost = load.lost()
    print("\n".join([*load.failures(), *lost]), end="", file=sys.stderr)
    print(f"| {deed} | {load.acknowledged()} | {load.retries()} | {len(load.failures())} | {len(lost)} |", end="")
    print(f" {load.longest_gap_s():.1f} |", flush=True)
    return load, "lost" if lost else ""


def _report(load: Load, lost: str) -> int:
    return 1 if lost or load.failures() else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenario", choices=["replicas", "failover"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
