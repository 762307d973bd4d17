"""Every kind of damage is found, never served as good, and healed by a push or from a replica: in files and buckets."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest

from petapter_registry_server.errors import StoreError
from petapter_registry_server.services.scrubbing import Damage, Scrubbing
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.objects import ObjectBlobStore
from petapter_registry_server.storage.opening import open_store
from petapter_schemas.digests import sha256_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Caller, NewBlobs, Registry

FILE = "/team/tickets/resolve/main/a.txt"
DATA = b"0123456789" * 100
Harm = Callable[[bytes], bytes | None]
"""What is left of some bytes; None is nothing at all."""


def flip(data: bytes) -> bytes:
    chance = random.Random(data)  # noqa: S311 (repeatable damage)
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut(data: bytes) -> bytes:
    return data[:-1]


def zero(data: bytes) -> bytes:
    return bytes(len(data))


def delete(_data: bytes) -> None:
    return None


HARMS: dict[str, Harm] = {"flipped": flip, "cut": cut, "zeroed": zero, "deleted": delete}


def do_harm(registry: Registry, data: bytes, harm: Harm) -> None:
    """Harm stored bytes behind the registry's back."""
    left = harm(data)
    if left is None:
        registry.store.delete(sha256_bytes(data))
    else:
        registry.damage(data, left)


@dataclass(frozen=True)
class Replica:
    """Copies of blobs, as the option of `scrub` names them."""

    place: str
    store: BlobShelf


@pytest.fixture
def replica_place(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path) -> str:
    """A directory beside a directory, a place in a bucket beside a bucket."""
    if registry.settings.blobs is None:
        return str(tmp_path / "replica")
    new_blobs: NewBlobs = request.getfixturevalue("new_blobs")
    return str(new_blobs())


def replicated(registry: Registry, place: str) -> Replica:
    """A copy of everything that is stored now."""
    in_a_bucket = place.startswith("s3://")
    if not in_a_bucket:
        Path(place).mkdir()
    store = open_store(registry.data if in_a_bucket else Path(place), place if in_a_bucket else None)
    with store.scratch() as scratch:
        for blob in registry.store.stored():
            file = scratch / blob.sha256
            file.write_bytes(b"".join(registry.store.open(blob.sha256).chunks))
            store.promote({blob.sha256: file})
    return Replica(place, store)


def scrubbing(registry: Registry, replica: Replica | None = None) -> Scrubbing:
    own = registry.app.state.services.garbage
    return Scrubbing(own._database, own._store, replica.store if replica else None)


def scrub(registry: Registry, replica: Replica | None = None) -> list[Damage]:
    found: list[Damage] = []
    scrubbing(registry, replica).run(found.append)
    return found


def test_healthy_registry_has_no_damage(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    done = scrubbing(registry).run(lambda damage: pytest.fail(str(damage)))
    assert (done.blobs, done.bytes, done.damaged) == (2, len(DATA) + 34, 0)


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_damage_is_found_named_and_never_served(registry: Registry, team: Caller, harm: Harm) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    do_harm(registry, DATA, harm)
    (damage,) = scrub(registry)
    assert (damage.sha256, damage.files, damage.is_healed) == (sha256_bytes(DATA), ("team/tickets: a.txt",), False)
    for method in ("GET", "HEAD"):
        answer = team.call(method, FILE)
        assert answer.status_code == 500
        assert "damaged or missing" in answer.headers["X-Error-Message"]


@pytest.mark.parametrize("harm", [cut, delete], ids=["cut", "deleted"])
def test_damage_that_the_size_shows_is_not_served_before_a_scrub_either(
    registry: Registry, team: Caller, harm: Harm
) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    do_harm(registry, DATA, harm)
    assert team.get(FILE).status_code == 500


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_pushing_the_same_content_heals(registry: Registry, team: Caller, harm: Harm) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    do_harm(registry, DATA, harm)
    scrub(registry)
    team.published("team/tickets", {"again.txt": DATA})
    assert team.get(FILE).content == DATA
    assert scrub(registry) == []


@pytest.mark.parametrize("harm", [cut, delete], ids=["cut", "deleted"])
@pytest.mark.parametrize("scrubbed", [True, False])
def test_pushing_the_same_file_to_its_own_place_heals(
    registry: Registry, team: Caller, harm: Harm, scrubbed: bool
) -> None:
    head = team.published("team/tickets", {"a.txt": DATA})
    announced = {"files": [{"path": "a.txt", "size": len(DATA), "sample": ""}]}
    do_harm(registry, DATA, harm)
    if scrubbed:
        scrub(registry)
    (told,) = team.call("POST", "/api/models/team/tickets/preupload/main", json=announced).json()["files"]
    assert "oid" not in told  # else clients would not send the file
    assert team.published("team/tickets", {"a.txt": DATA}) == head
    assert team.get(FILE).content == DATA


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_replica_heals(registry: Registry, team: Caller, replica_place: str, harm: Harm) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    replica = replicated(registry, replica_place)
    do_harm(registry, DATA, harm)
    (damage,) = scrub(registry, replica)
    assert damage.is_healed
    assert team.get(FILE).content == DATA
    assert scrub(registry) == []


def test_replica_that_is_damaged_itself_heals_nothing(registry: Registry, team: Caller, replica_place: str) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    replica = replicated(registry, replica_place)
    do_harm(registry, DATA, zero)
    replace_bytes(replica, DATA, flip(DATA))
    (damage,) = scrub(registry, replica)
    assert not damage.is_healed
    assert team.get(FILE).status_code == 500


def replace_bytes(replica: Replica, data: bytes, instead: bytes) -> None:
    name = f"blobs/{blob_name(sha256_bytes(data))}"
    if isinstance(replica.store, ObjectBlobStore):
        obstore.put(replica.store._objects, name, instead)
    else:
        (Path(replica.place) / name).write_bytes(instead)


def test_two_blobs_that_were_swapped_are_both_found(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA, "b.txt": DATA[::-1]})
    registry.damage(DATA, DATA[::-1])
    registry.damage(DATA[::-1], DATA)
    assert {damage.sha256 for damage in scrub(registry)} == {sha256_bytes(DATA), sha256_bytes(DATA[::-1])}


def test_every_one_of_many_random_damages_is_found_and_healed(
    registry: Registry, team: Caller, replica_place: str
) -> None:
    contents = [b"%d" % number * 50 for number in range(200)]
    team.published("team/tickets", {f"{number}.txt": data for number, data in enumerate(contents)})
    replica = replicated(registry, replica_place)
    chance = random.Random(7)  # noqa: S311 (repeatable damage)
    harmed = chance.sample(contents, 120)
    for data in harmed:
        do_harm(registry, data, chance.choice(list(HARMS.values())))
    found = scrub(registry, replica)
    assert {damage.sha256 for damage in found} == {sha256_bytes(data) for data in harmed}
    assert all(damage.is_healed for damage in found)
    assert all(registry.stored(data) == data for data in contents)


def test_damaged_bytes_are_kept_in_quarantine(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    do_harm(registry, DATA, zero)
    scrub(registry)
    assert quarantined(registry) == [bytes(len(DATA))]
    assert registry.stored(DATA) is None


def quarantined(registry: Registry) -> list[bytes]:
    """What was moved aside."""
    if not isinstance(registry.store, ObjectBlobStore):
        return [file.read_bytes() for file in (registry.data / "quarantine").iterdir()]
    objects = registry.store._objects
    kept = [found["path"] for batch in obstore.list(objects, "quarantine") for found in batch]
    return [bytes(obstore.get(objects, path).bytes()) for path in kept]


def test_damage_stays_damage_in_the_next_scrub(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    do_harm(registry, DATA, zero)
    assert len(scrub(registry)) == 1
    assert [damage.finding for damage in scrub(registry)] == ["missing"]


def test_scrub_that_was_cut_short_goes_on_where_it_stopped(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.published("team/tickets", {f"{number}.txt": b"%d" % number for number in range(150)})
    opened: list[str] = []
    kind = type(registry.store)
    whole = kind.open

    def failing(store: BlobShelf, sha256: str, begin: int = 0, end: int | None = None) -> object:
        opened.append(sha256)
        if len(opened) == 120:
            raise StoreError("gone")
        return whole(store, sha256, begin, end)

    monkeypatch.setattr(kind, "open", failing)
    with pytest.raises(StoreError):
        scrub(registry)
    del opened[:120]
    done = scrubbing(registry).run(lambda _damage: None)
    assert done.blobs == 151
    assert len(opened) == 51


def test_command_names_the_damage_and_the_remedy(registry: Registry, team: Caller, replica_place: str) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    replica = replicated(registry, replica_place)
    do_harm(registry, DATA, cut)
    command = ("petapter-registry", "scrub", *registry.place_with_bytes)
    found = run(*command)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        f"{sha256_bytes(DATA)} is of another size (team/tickets: a.txt): push the same file again, or give --replica",
        "2 blobs (1034 bytes) checked, 1 damaged, 0 of them healed",
    ]
    healed = run(*command, "--replica", replica.place)
    assert (healed.returncode, healed.stdout.splitlines()[-1]) == (
        0,
        "2 blobs (1034 bytes) checked, 1 damaged, 1 of them healed",
    )


def test_replica_without_blobs_is_one_line(registry: Registry, tmp_path: Path) -> None:
    done = run("petapter-registry", "scrub", *registry.place_with_bytes, "--replica", tmp_path / "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "holds no blobs" in done.stderr
