"""Several server processes over one PostgreSQL database and one bucket; and races, also on SQLite and local files."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import registry_races as races
from tests.postgres_cluster import Cluster
from tests.registry_process import Server, new_token, run, serving, start
from tests.registry_server.conftest import Backing, NewBacking, NewBlobs, commit_body, fresh_database
from tests.registry_server.module_bytes import module_files

CLIENTS = 8
ROUNDS = 3
REPLICAS = 3


@dataclass(frozen=True)
class Replicas:
    """Running servers that show the same registry."""

    servers: list[Server]
    token: str
    database: str | None

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def client(self, number: int) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.urls[number], headers=headers, timeout=60)


def start_replicas(stack: ExitStack, data: Path, backing: Backing, count: int) -> Replicas:
    database, blobs = backing.database, backing.blobs
    servers = [
        stack.enter_context(serving(data, database=database, blobs=blobs, replica=f"-{number}" if database else ""))
        for number in range(count)
    ]
    return Replicas(servers, new_token(data, database_url=database), database)


@pytest.fixture(scope="module")
def replicas(new_backing: NewBacking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three servers over PostgreSQL and a bucket, or the one that SQLite allows."""
    data = tmp_path_factory.mktemp("replicas") / "data"
    with ExitStack() as stack:
        backing = stack.enter_context(new_backing())
        yield start_replicas(stack, data, backing, REPLICAS if backing.database else 1)


@pytest.fixture
def racers(replicas: Replicas) -> Iterator[races.Racers]:
    with races.Racers(replicas.urls, replicas.token, CLIENTS) as ready:
        yield ready


@pytest.mark.parametrize(
    "race",
    [
        races.race_for_names,
        races.race_for_tags,
        races.race_for_branches,
        races.race_for_versions,
        races.race_with_one_commit,
    ],
)
def test_race_has_exactly_one_winner_each_round(racers: races.Racers, race: races.Race) -> None:
    outcome = race(racers, ROUNDS)
    assert outcome.bad_rounds == []
    assert sum(outcome.statuses.values()) == CLIENTS * ROUNDS


def test_compare_and_swap_loses_no_update(racers: races.Racers) -> None:
    value, outcome = races.increment(racers, 2)
    assert set(outcome.statuses) <= {200, 412}
    assert value == outcome.statuses[200] == 2 * CLIENTS


@pytest.mark.postgres
@pytest.mark.s3
@pytest.mark.parametrize("shared", ["bucket", "directory"])
def test_what_one_replica_takes_the_others_give(
    cluster: Cluster, new_blobs: NewBlobs, tmp_path: Path, shared: str
) -> None:
    with fresh_database(cluster) as url, ExitStack() as stack:
        backing = Backing(url, new_blobs() if shared == "bucket" else None)
        replicas = start_replicas(stack, tmp_path / "data", backing, 2)
        with replicas.client(0) as first, replicas.client(1) as second:
            first.post("/api/repos/create", json={"name": "tickets", "organization": "team"}).raise_for_status()
            files = module_files()
            first.post("/api/models/team/tickets/commit/main", content=commit_body(files)).raise_for_status()
            for path, data in files.items():
                assert second.get(f"/team/tickets/resolve/main/{path}").content == data


@pytest.mark.postgres
def test_replica_that_starts_leaves_the_scratch_of_the_living_and_removes_that_of_the_dead(
    cluster: Cluster, tmp_path: Path
) -> None:
    scratch = tmp_path / "data" / "scratch"
    with fresh_database(cluster) as url, ExitStack() as stack:
        first = start(tmp_path / "data", database=url, replica="-0")
        stack.callback(first.kill)
        (of_first,) = scratch.iterdir()
        with serving(tmp_path / "data", database=url, replica="-1"):
            assert of_first in scratch.iterdir()
            assert len(list(scratch.iterdir())) == 2
        first.kill()
        with serving(tmp_path / "data", database=url, replica="-2") as last:
            assert len(list(scratch.iterdir())) == 1
            assert of_first not in scratch.iterdir()
            assert httpx.get(f"{last.url}/health").status_code == 200
            assert last.process.poll() is None
            last.stop()
        assert list(scratch.iterdir()) == []


@pytest.mark.postgres
def test_admin_token_is_printed_by_one_replica_and_no_password_by_any(cluster: Cluster, tmp_path: Path) -> None:
    with fresh_database(cluster) as url:
        with_password = url.replace("petapter@", "petapter:secret@")
        started = [start(tmp_path / "data", database=with_password, replica=f"-{number}") for number in range(2)]
        printed = [server.stop() for server in started]
    assert sum("ppt_" in text for text in printed) == 1
    assert all("with the PostgreSQL database 'test_" in text for text in printed)
    assert not any("secret" in text + server.log for text, server in zip(printed, started, strict=True))


@pytest.mark.postgres
def test_database_is_taken_from_the_environment(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(cluster) as url:
        monkeypatch.setenv("PETAPTER_REGISTRY_DATABASE", url)
        made = run("petapter-registry", "token", "create", "--user", "ada")
        assert (made.returncode, made.stdout[:4]) == (0, "ppt_")
        with serving(tmp_path / "data") as server:
            answer = httpx.get(
                f"{server.url}/api/whoami-v2", headers={"authorization": f"Bearer {made.stdout.strip()}"}
            )
            assert answer.json()["name"] == "ada"
        assert not (tmp_path / "data" / "registry.sqlite").exists()


@pytest.mark.postgres
def test_server_over_sqlite_is_kept_out_of_the_directory_of_replicas(cluster: Cluster, tmp_path: Path) -> None:
    with fresh_database(cluster) as url, serving(tmp_path / "data", database=url):
        done = run("petapter-registry", "serve", "--data", tmp_path / "data", "--port", "0")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "another petapter-registry already serves" in done.stderr


@pytest.mark.postgres
def test_unreachable_database_is_one_line_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://ada:secret@127.0.0.1:1/name"
    done = run("petapter-registry", "serve", "--data", tmp_path / "data", "--port", "0", "--database", url)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the PostgreSQL database 'name' cannot be used" in done.stderr
    assert "secret" not in done.stderr + done.stdout
