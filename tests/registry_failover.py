"""A primary PostgreSQL server with a synchronous standby, and what happens to a load when the primary is killed."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.postgres_cluster import Cluster, cluster_directory, init, start, start_standby

DATABASE = "registry"
SYNCHRONOUS = ("synchronous_standby_names=*", "synchronous_commit=remote_apply")


@dataclass(frozen=True)
class Pair:
    """Two servers; `url` finds whichever takes writes."""

    primary: Cluster
    standby: Cluster

    @property
    def url(self) -> str:
        """The address of both."""
        hosts = "&".join(f"host={server.directory}" for server in (self.primary, self.standby))
        return f"postgresql+psycopg://petapter@/{DATABASE}?{hosts}&target_session_attrs=read-write"

    def fail_over(self) -> None:
        """Kill the primary and let the standby take its place."""
        self.primary.kill()
        with self.standby.connect() as connection:
            connection.execute("select pg_promote()")


@contextmanager
def pair(programs: Path) -> Iterator[Pair]:
    """A primary that acknowledges nothing before its standby has it; both write to disk as in earnest."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(cluster_directory()) for _ in range(2))
        init(programs, first / "data")
        primary = start(programs, first, SYNCHRONOUS)
        stack.callback(primary.stop)
        standby = start_standby(programs, primary, second)
        stack.callback(standby.stop)
        _await_synchronous(primary)
        primary.create(DATABASE)
        yield Pair(primary, standby)


def _await_synchronous(primary: Cluster) -> None:
    deadline = time.monotonic() + 60
    with primary.connect() as connection:
        while connection.execute("select sync_state from pg_stat_replication").fetchall() != [("sync",)]:
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not follow")
            time.sleep(0.05)
