"""Garbage collection and bytes that were sent apart from commits: kept while somebody may commit them, then gone."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from petapter_registry_server.services.garbage import GarbageCollection
from tests.registry_server.conftest import Backing, Caller, Registry, commit_body, member_of_team, running
from tests.registry_server.module_bytes import safetensors
from tests.registry_server.test_garbage import GRACE_MS, Clock, collect_all, stored

DATA = safetensors({"weight": (50, 10)})
OID = sha256(DATA).hexdigest()
HOURS_MS = 3_600_000


@pytest.fixture
def registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    with running(backing.settings(tmp_path / "data", max_inline_bytes=1000, gc_interval_s=0)) as opened:
        yield opened


@pytest.fixture
def team(registry: Registry) -> Caller:
    return member_of_team(registry)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def garbage(registry: Registry, clock: Clock) -> GarbageCollection:
    own = registry.app.state.services.garbage
    return GarbageCollection(own._database, own._store, grace_ms=GRACE_MS, clock=clock)


def send(registry: Registry, team: Caller) -> None:
    wanted = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": OID, "size": len(DATA)}]}
    answer = team.call("POST", "/team/tickets.git/info/lfs/objects/batch", json=wanted).json()
    href = answer["objects"][0]["actions"]["upload"]["href"]
    assert registry.anonymous.call("PUT", href, content=DATA).status_code == 200


def commit(team: Caller) -> int:
    line = f'{{"key":"lfsFile","value":{{"path":"w.safetensors","algo":"sha256","oid":"{OID}"}}}}\n'.encode()
    status: int = team.call("POST", "/api/models/team/tickets/commit/main", content=commit_body({}) + line).status_code
    return status


def test_bytes_that_wait_for_their_commit_are_no_garbage(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    send(registry, team)
    collect_all(garbage, clock)
    assert OID in stored(registry)
    assert commit(team) == 200
    clock.now_ms += 100 * HOURS_MS
    collect_all(garbage, clock)
    assert team.get("/team/tickets/resolve/main/w.safetensors").content == DATA


def test_bytes_that_nobody_commits_go_after_two_days(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    send(registry, team)
    clock.now_ms += 49 * HOURS_MS
    collect_all(garbage, clock)
    assert OID not in stored(registry)
    assert commit(team) == 400
    send(registry, team)
    assert commit(team) == 200


def test_bytes_that_were_sent_for_a_deleted_repository_go_with_it(
    registry: Registry, team: Caller, garbage: GarbageCollection, clock: Clock
) -> None:
    send(registry, team)
    team.delete("team/tickets")
    collect_all(garbage, clock)
    assert OID not in stored(registry)


def test_bytes_that_vanish_between_check_and_commit_are_stored_again(registry: Registry, team: Caller) -> None:
    send(registry, team)
    reached = registry.app.state.services.publishing._reached

    def lose(place: str) -> None:
        if place == "examined":
            registry.store.delete(OID)
        reached(place)

    registry.app.state.services.publishing._reached = lose
    assert commit(team) == 200
    assert team.get("/team/tickets/resolve/main/w.safetensors").content == DATA
