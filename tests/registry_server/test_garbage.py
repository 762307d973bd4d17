"""Garbage collection by itself, against a model, and against pushes that run at the same time."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from petapter_registry_server.db import blobs
from petapter_registry_server.db.tables import Blob
from petapter_registry_server.errors import StoreError
from petapter_registry_server.services.garbage import Collected, GarbageCollection
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.periodic import repeated
from petapter_registry_server.settings import Settings
from petapter_schemas.digests import sha256_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Caller, Registry, member_of_team, running
from tests.registry_server.module_bytes import module_files

GRACE_MS = 1000


class Clock:
    """A time that only moves when told to, from the time of the files on."""

    def __init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000 + 60_000

    def __call__(self) -> int:
        return self.now_ms

    def pass_grace(self) -> None:
        self.now_ms += GRACE_MS


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def garbage(registry: Registry, clock: Clock) -> GarbageCollection:
    own = registry.app.state.services.garbage
    return GarbageCollection(own._database, own._store, grace_ms=GRACE_MS, clock=clock)


def stored(registry: Registry) -> set[str]:
    return registry.stored_digests()


def digests(files: dict[str, bytes]) -> set[str]:
    return {sha256_bytes(data) for data in files.values()}


def collect_all(garbage: GarbageCollection, clock: Clock) -> None:
    garbage.run()
    clock.pass_grace()
    garbage.run()


def test_bytes_of_a_deleted_repository_go_after_two_graces(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    files = module_files()
    team.published("team/tickets", files)
    team.delete("team/tickets")
    assert garbage.run().condemned == len(files) + 1
    assert digests(files) <= stored(registry)
    clock.pass_grace()
    done = garbage.run()
    assert (done.deleted, done.condemned) == (len(files) + 1, 0)
    assert stored(registry) == set()


def test_bytes_that_a_living_repository_shares_stay(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    team.create("team/other")
    team.published("team/other", {"a.txt": b"shared"})
    team.published("team/tickets", {"a.txt": b"shared", "b.txt": b"alone"})
    team.delete("team/tickets")
    collect_all(garbage, clock)
    assert team.get("/team/other/resolve/main/a.txt").content == b"shared"
    assert sha256_bytes(b"alone") not in stored(registry)


def test_earlier_versions_and_removed_branches_stay_readable(
    team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    first = team.published("team/tickets", {"a.txt": b"first"})
    team.call("POST", "/api/models/team/tickets/branch/side", json={})
    side = team.published("team/tickets", {"a.txt": b"side"}, branch="side")
    team.call("DELETE", "/api/models/team/tickets/branch/side")
    team.published("team/tickets", {"a.txt": b"second"})
    collect_all(garbage, clock)
    assert team.get(f"/team/tickets/resolve/{first}/a.txt").content == b"first"
    assert team.get(f"/team/tickets/resolve/{side}/a.txt").content == b"side"


def test_young_blob_is_not_condemned(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", module_files())
    team.delete("team/tickets")
    assert registry.app.state.services.garbage.run() == Collected(0, 0, 0, 0)


def test_push_revives_what_is_condemned(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    team.published("team/tickets", {"a.txt": b"again"})
    team.delete("team/tickets")
    garbage.run()
    team.create("team/other")
    team.published("team/other", {"a.txt": b"again"})
    clock.pass_grace()
    garbage.run()
    assert team.get("/team/other/resolve/main/a.txt").content == b"again"


def test_name_of_a_repository_whose_bytes_are_gone_stays_retired(
    team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    team.published("team/tickets", module_files())
    team.delete("team/tickets")
    collect_all(garbage, clock)
    assert team.create("team/tickets").status_code == 410


def test_bytes_without_a_row_go_after_two_graces(registry: Registry, garbage: GarbageCollection, clock: Clock) -> None:
    store = registry.app.state.services.garbage._store
    with store.scratch() as scratch:
        (scratch / "file").write_bytes(b"stray")
        store.promote({sha256_bytes(b"stray"): scratch / "file"})
    assert garbage.run().strays == 1
    assert stored(registry) == {sha256_bytes(b"stray")}
    clock.pass_grace()
    garbage.run()
    assert stored(registry) == set()


def test_bytes_that_went_away_between_promotion_and_commit_are_stored_again(
    registry: Registry, garbage: GarbageCollection, clock: Clock, tmp_path: Path
) -> None:
    database, store = garbage._database, garbage._store
    data, digest = b"wanted", sha256_bytes(b"wanted")
    (tmp_path / "file").write_bytes(data)
    store.promote({digest: tmp_path / "file"})
    collect_all(garbage, clock)
    assert store.size(digest) is None
    with database.write() as session:
        hold_bytes(session, store, {digest: tmp_path / "file"})
    assert b"".join(store.open(digest).chunks) == data


def test_blob_that_is_referred_to_again_is_pardoned(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    digest = sha256_bytes(b"kept")
    with garbage._database.write() as session:
        session.get_one(Blob, digest).condemned_ms = 0
    garbage.run()
    with garbage._database.read() as session:
        assert session.scalar(select(Blob.condemned_ms).where(Blob.sha256 == digest)) is None
    assert team.get("/team/tickets/resolve/main/a.txt").content == b"kept"


def test_rows_are_there_for_every_stored_blob(registry: Registry, team: Caller, garbage: GarbageCollection) -> None:
    team.published("team/tickets", module_files())
    with garbage._database.read() as session:
        assert blobs.unknown(session, sorted(stored(registry))) == set()


def test_dry_run_counts_and_changes_nothing(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"12345"})
    team.delete("team/tickets")
    command = ("petapter-registry", "gc", *registry.place_with_bytes, "--grace", "0")
    counted = run(*command, "--dry-run")
    assert counted.stdout == "2 blobs would be condemned (0 of them unknown bytes), 0 would be deleted (0 bytes)\n"
    assert len(stored(registry)) == 2
    done = run(*command)
    assert done.stdout == "2 blobs condemned (0 of them unknown bytes), 2 deleted (39 bytes)\n"
    assert stored(registry) == set()


def test_server_collects_by_itself(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data", gc_interval_s=0.05, gc_grace_s=0)) as registry:
        team = member_of_team(registry)
        team.published("team/tickets", {"a.txt": b"12345"})
        team.delete("team/tickets")
        deadline = time.monotonic() + 60
        while stored(registry) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stored(registry) == set()


def test_failing_collection_is_tried_again() -> None:
    tried = threading.Semaphore(0)

    def fail(_stopped: Callable[[], bool]) -> None:
        tried.release()
        raise StoreError("gone")

    with repeated("collection", fail, 0.01):
        assert tried.acquire(timeout=60)
        assert tried.acquire(timeout=60)


@pytest.fixture
def busy(garbage: GarbageCollection) -> Iterator[list[Collected]]:
    """Garbage collected every 0.05 s without any grace, which no real registry would do, until the test ends."""
    restless = GarbageCollection(garbage._database, garbage._store, grace_ms=0)
    stop = threading.Event()
    runs: list[Collected] = []

    def collect() -> None:
        while not stop.wait(0.05):
            runs.append(restless.run())

    thread = threading.Thread(target=collect)
    thread.start()
    yield runs
    stop.set()
    thread.join()


def test_pushes_and_pulls_never_fail_while_garbage_is_collected(registry: Registry, busy: list[Collected]) -> None:
    """PETAPTER_TEST_GC_SECONDS makes it longer. All push the same few contents, so that they meet condemned blobs."""
    member = registry.caller("ada")
    deadline = time.monotonic() + float(os.environ.get("PETAPTER_TEST_GC_SECONDS", "4"))
    contents = [{f"{n}.txt": b"%d" % n, "same.txt": b"same", "README.md": b"# %d" % (n % 2)} for n in range(4)]

    def work(worker: int) -> int:
        rounds = 0
        while time.monotonic() < deadline or rounds == 0:
            repo = f"team-{worker}/r{rounds}"
            assert member.create(repo).status_code == 200
            files = contents[(worker + rounds) % len(contents)]
            oid = member.published(repo, files)
            for path, data in files.items():
                answer = member.get(f"/{repo}/resolve/{oid}/{path}")
                assert (answer.status_code, answer.content) == (200, data)
            assert member.delete(repo).status_code == 200
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as threads:
        rounds = list(threads.map(work, range(4)))
    print(f"{sum(rounds)} pushes, {len(busy)} collections, {sum(done.deleted for done in busy)} blobs deleted")
    assert sum(done.deleted for done in busy) > 0
