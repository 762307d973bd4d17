"""Whatever a power cut loses of what was not synced, the registry that starts after it keeps every promise."""

import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from petapter_registry_server.db import blobs
from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage import local
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.durable import sync_all
from petapter_schemas.digests import sha256_bytes
from tests.registry_server.conftest import Backing, Caller, NewBacking, Registry, member_of_team, running
from tests.registry_server.module_bytes import module_files, safetensors
from tests.registry_server.power_cut import Recording, State, lay_out, recorded, states
from tests.registry_server.test_large_files import batch, put

RECOVERED = 3
LARGE = safetensors({"weight": (50, 100)})


@pytest.fixture(scope="module")
def new_backing() -> NewBacking:
    """Power is cut where files lie on this machine."""
    return lambda: nullcontext(Backing())


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running(Settings(data=tmp_path / "data", max_inline_bytes=10_000, gc_interval_s=0)) as opened:
        yield opened


def push(team: Caller, number: int) -> None:
    team.published("team/tickets", module_files(fill=float(number)))


def live(registry: Registry, team: Caller) -> None:
    """A life of a registry: new and known bytes, bytes sent apart, a deletion, collected garbage, and bytes again."""
    for number in (1, 2, 1, 3):
        push(team, number)
    wanted = {"oid": sha256_bytes(LARGE), "size": len(LARGE)}
    href = batch(team, wanted).json()["objects"][0]["actions"]["upload"]["href"]
    assert put(registry, href, LARGE).status_code == 200
    team.create("team/gone")
    team.published("team/gone", {"a.txt": b"gone", "b.txt": b"gone too"})
    team.delete("team/gone")
    own = registry.app.state.services.garbage
    GarbageCollection(own._database, own._store, grace_ms=0, clock=lambda: 1 << 50).run()
    team.published("team/tickets", {"a.txt": b"gone"})


def lived(registry: Registry, tmp_path: Path) -> Recording:
    team = member_of_team(registry)
    with recorded(registry.data, tmp_path / "snapshots") as recording:
        live(registry, team)
    return recording


def test_no_state_after_a_cut_breaks_a_promise_or_shows_torn_bytes(registry: Registry, tmp_path: Path) -> None:
    found = list(states(lived(registry, tmp_path)))
    assert len(found) > 500
    assert [state.problems() for state in found if state.problems()] == []


def test_registry_starts_over_such_states_and_gives_what_they_promise(registry: Registry, tmp_path: Path) -> None:
    recording = lived(registry, tmp_path)
    known = {sha256_bytes(data): data for number in (1, 2, 3) for data in module_files(fill=float(number)).values()}
    known |= {sha256_bytes(data): data for data in (LARGE, b"gone", b"gone too")}
    known |= {blob.sha256: b"".join(registry.store.open(blob.sha256).chunks) for blob in registry.store.stored()}
    sample = random.Random(1).sample(list(states(recording)), RECOVERED)  # noqa: S311 (of a test)
    for number, state in enumerate(sample):
        with running(Settings(data=lay_out(state, known, tmp_path / f"after-{number}"))) as after:
            reader = Caller(after.client, registry.admin_token)
            for commit in reader.get("/api/models/team/tickets/commits/main").json():
                for path in reader.paths("team/tickets", commit["id"]):
                    got = reader.get(f"/team/tickets/resolve/{commit['id']}/{path}")
                    assert (got.status_code, sha256_bytes(got.content) in known) == (200, True)
            push(reader, 9)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (Path.is_file, "holds other bytes"),
        (lambda place: place.parent.parent.name == "sha256", "is promised and not there"),
        (lambda place: "sha256" in {place.name, place.parent.name}, "is promised and not there"),
    ],
    ids=["bytes", "names", "directories"],
)
def test_store_that_leaves_out_a_sync_is_caught(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: Callable[[Path], bool], said: str
) -> None:
    team = member_of_team(registry)
    monkeypatch.setattr(local, "sync_all", lambda places, *how: sync_all([p for p in places if not left_out(p)], *how))
    with recorded(registry.data, tmp_path / "snapshots") as recording:
        push(team, 1)
    assert any(said in problem for state in states(recording) for problem in state.problems())


def test_directory_that_another_push_made_a_moment_ago_is_synced_too(registry: Registry, tmp_path: Path) -> None:
    team = member_of_team(registry)
    with recorded(registry.data, tmp_path / "snapshots") as recording:
        for data in module_files(fill=1.0).values():
            (registry.data / "blobs" / blob_name(sha256_bytes(data))).parent.mkdir(parents=True, exist_ok=True)
        push(team, 1)
    assert [problem for state in states(recording) for problem in state.problems()] == []


def test_rows_before_bytes_are_caught(registry: Registry, tmp_path: Path) -> None:
    """Bytes that are promised and then stored: what publishing must never do."""
    store, data = registry.store, b"late"
    with recorded(registry.data, tmp_path / "snapshots") as recording:
        with registry.app.state.database.write() as session:
            blobs.hold(session, {sha256_bytes(data): len(data)})
        with store.scratch() as scratch:
            (scratch / "late").write_bytes(data)
            store.promote({sha256_bytes(data): scratch / "late"})
    assert any(isinstance(state, State) and state.problems() for state in states(recording))
    assert list(states(recording))[-1].problems() == []
