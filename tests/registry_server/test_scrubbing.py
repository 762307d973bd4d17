"""Every kind of damage is found, is never served as good, and is healed by a push or from a replica."""

import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from petapter_registry_server.errors import StoreError
from petapter_registry_server.services.scrubbing import Damage, Scrubbing
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_schemas.digests import sha256_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Backing, Caller, NewBacking, Registry, over_postgres

FILE = "/team/tickets/resolve/main/a.txt"
DATA = b"0123456789" * 100
Harm = Callable[[Path], object]


@pytest.fixture(scope="session", params=["sqlite+files", pytest.param("postgres+files", marks=pytest.mark.postgres)])
def new_backing(request: pytest.FixtureRequest) -> NewBacking:
    """These tests do harm to files on disk."""
    if request.param == "sqlite+files":
        return lambda: nullcontext(Backing())
    return over_postgres(request.getfixturevalue("lent_databases"), lambda: None)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    chance = random.Random(file.name)  # noqa: S311 (repeatable damage)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def zero(file: Path) -> None:
    file.write_bytes(b"\0" * file.stat().st_size)


HARMS: dict[str, Harm] = {"flipped": flip, "cut": cut, "zeroed": zero, "deleted": Path.unlink}


def blob(data_directory: Path, data: bytes) -> Path:
    return data_directory / "blobs" / blob_name(sha256_bytes(data))


def scrubbing(registry: Registry, replica: Path | None = None) -> Scrubbing:
    own = registry.app.state.services.garbage
    return Scrubbing(own._database, own._store, LocalBlobStore(replica) if replica else None)


def scrub(registry: Registry, replica: Path | None = None) -> list[Damage]:
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
    harm(blob(registry.data, DATA))
    (damage,) = scrub(registry)
    assert (damage.sha256, damage.files, damage.is_healed) == (sha256_bytes(DATA), ("team/tickets: a.txt",), False)
    for method in ("GET", "HEAD"):
        answer = team.call(method, FILE)
        assert answer.status_code == 500
        assert "damaged or missing" in answer.headers["X-Error-Message"]


@pytest.mark.parametrize("harm", [cut, Path.unlink], ids=["cut", "deleted"])
def test_damage_that_the_size_shows_is_not_served_before_a_scrub_either(
    registry: Registry, team: Caller, harm: Harm
) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    harm(blob(registry.data, DATA))
    assert team.get(FILE).status_code == 500


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_pushing_the_same_content_heals(registry: Registry, team: Caller, harm: Harm) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    harm(blob(registry.data, DATA))
    scrub(registry)
    team.published("team/tickets", {"again.txt": DATA})
    assert team.get(FILE).content == DATA
    assert scrub(registry) == []


@pytest.mark.parametrize("harm", [cut, Path.unlink], ids=["cut", "deleted"])
@pytest.mark.parametrize("scrubbed", [True, False])
def test_pushing_the_same_file_to_its_own_place_heals(
    registry: Registry, team: Caller, harm: Harm, scrubbed: bool
) -> None:
    head = team.published("team/tickets", {"a.txt": DATA})
    announced = {"files": [{"path": "a.txt", "size": len(DATA), "sample": ""}]}
    harm(blob(registry.data, DATA))
    if scrubbed:
        scrub(registry)
    (told,) = team.call("POST", "/api/models/team/tickets/preupload/main", json=announced).json()["files"]
    assert "oid" not in told  # else clients would not send the file
    assert team.published("team/tickets", {"a.txt": DATA}) == head
    assert team.get(FILE).content == DATA


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_replica_heals(registry: Registry, team: Caller, tmp_path: Path, harm: Harm) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    shutil.copytree(registry.data / "blobs", tmp_path / "replica" / "blobs")
    harm(blob(registry.data, DATA))
    (damage,) = scrub(registry, tmp_path / "replica")
    assert damage.is_healed
    assert team.get(FILE).content == DATA
    assert scrub(registry) == []


def test_replica_that_is_damaged_itself_heals_nothing(registry: Registry, team: Caller, tmp_path: Path) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    shutil.copytree(registry.data / "blobs", tmp_path / "replica" / "blobs")
    zero(blob(registry.data, DATA))
    flip(blob(tmp_path / "replica", DATA))
    (damage,) = scrub(registry, tmp_path / "replica")
    assert not damage.is_healed
    assert team.get(FILE).status_code == 500


def test_two_blobs_that_were_swapped_are_both_found(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA, "b.txt": DATA[::-1]})
    one, other = blob(registry.data, DATA), blob(registry.data, DATA[::-1])
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert {damage.sha256 for damage in scrub(registry)} == {sha256_bytes(first), sha256_bytes(second)}


def test_every_one_of_many_random_damages_is_found_and_healed(registry: Registry, team: Caller, tmp_path: Path) -> None:
    contents = [b"%d" % number * 50 for number in range(200)]
    team.published("team/tickets", {f"{number}.txt": data for number, data in enumerate(contents)})
    shutil.copytree(registry.data / "blobs", tmp_path / "replica" / "blobs")
    chance = random.Random(7)  # noqa: S311 (repeatable damage)
    harmed = chance.sample(contents, 120)
    for data in harmed:
        chance.choice(list(HARMS.values()))(blob(registry.data, data))
    found = scrub(registry, tmp_path / "replica")
    assert {damage.sha256 for damage in found} == {sha256_bytes(data) for data in harmed}
    assert all(damage.is_healed for damage in found)
    assert all(blob(registry.data, data).read_bytes() == data for data in contents)


def test_damaged_bytes_are_kept_in_quarantine(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    zero(blob(registry.data, DATA))
    scrub(registry)
    (kept,) = (registry.data / "quarantine").iterdir()
    assert kept.read_bytes() == b"\0" * len(DATA)


def test_damage_stays_damage_in_the_next_scrub(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    zero(blob(registry.data, DATA))
    assert len(scrub(registry)) == 1
    assert [damage.finding for damage in scrub(registry)] == ["missing"]


def test_scrub_that_was_cut_short_goes_on_where_it_stopped(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.published("team/tickets", {f"{number}.txt": b"%d" % number for number in range(150)})
    opened: list[str] = []
    whole = LocalBlobStore.open

    def failing(store: LocalBlobStore, sha256: str, begin: int = 0, end: int | None = None) -> object:
        opened.append(sha256)
        if len(opened) == 120:
            raise StoreError("gone")
        return whole(store, sha256, begin, end)

    monkeypatch.setattr(LocalBlobStore, "open", failing)
    with pytest.raises(StoreError):
        scrub(registry)
    del opened[:120]
    done = scrubbing(registry).run(lambda _damage: None)
    assert done.blobs == 151
    assert len(opened) == 51


def test_command_names_the_damage_and_the_remedy(registry: Registry, team: Caller, tmp_path: Path) -> None:
    team.published("team/tickets", {"a.txt": DATA})
    shutil.copytree(registry.data / "blobs", tmp_path / "replica" / "blobs")
    cut(blob(registry.data, DATA))
    command = ("petapter-registry", "scrub", *registry.place_with_bytes)
    found = run(*command)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        f"{sha256_bytes(DATA)} is of another size (team/tickets: a.txt): push the same file again, or give --replica",
        "2 blobs (1034 bytes) checked, 1 damaged, 0 of them healed",
    ]
    healed = run(*command, "--replica", tmp_path / "replica")
    assert (healed.returncode, healed.stdout.splitlines()[-1]) == (
        0,
        "2 blobs (1034 bytes) checked, 1 damaged, 1 of them healed",
    )


def test_replica_without_blobs_is_one_line(registry: Registry, tmp_path: Path) -> None:
    done = run("petapter-registry", "scrub", *registry.place_with_bytes, "--replica", tmp_path / "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "holds no blobs" in done.stderr
