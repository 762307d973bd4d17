"""Replicas and databases that are killed while clients commit: every client gets its answer, and nothing is lost."""

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.postgres_cluster import Cluster, find_programs
from tests.registry_failover import pair
from tests.registry_fire import Load
from tests.registry_process import new_token, serving, start
from tests.registry_server.conftest import fresh_database

pytestmark = pytest.mark.postgres

CLIENTS = 4


def test_clients_that_try_again_do_not_notice_that_replicas_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with fresh_database(cluster) as url, ExitStack() as stack:
        servers = [start(data, database=url, replica=f"-{number}") for number in range(2)]
        for server in servers:
            stack.callback(server.kill)
        load = stack.enter_context(
            closing(Load([server.url for server in servers], new_token(data, database_url=url), CLIENTS))
        )
        load.begin()
        for number, server in enumerate(servers):
            load.await_more(10)
            server.kill()
            port = int(server.url.rpartition(":")[2])
            stack.callback(start(data, database=url, replica=f"-{number}", port=port).kill)
        load.await_more(10)
        load.end()
        assert (load.failures(), load.lost()) == ([], [])
        assert load.retries() > 0


def test_primary_that_is_killed_takes_no_acknowledged_commit_with_it(cluster: Cluster, tmp_path: Path) -> None:
    programs = find_programs()
    assert programs is not None
    with pair(programs) as servers, serving(tmp_path / "data", database=servers.url) as server, ExitStack() as stack:
        token = new_token(tmp_path / "data", database_url=servers.url)
        load = stack.enter_context(closing(Load([server.url], token, CLIENTS)))
        load.begin()
        load.await_more(10)
        servers.fail_over()
        load.await_more(10)
        load.end()
        assert (load.failures(), load.lost()) == ([], [])
