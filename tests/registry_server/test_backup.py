"""A backup that is taken while the registry serves comes back byte for byte, or is refused as a whole."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from petapter_registry_server.data_directory import DataDirectory
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.backup import back_up, restore
from petapter_registry_server.services.scrubbing import Scrubbing
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.objects import ObjectBlobStore
from petapter_schemas.digests import sha256_bytes
from tests.registry_process import run
from tests.registry_server.conftest import Caller, NewDatabase, Registry, running
from tests.registry_server.module_bytes import module_files
from tests.registry_server.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def new_database() -> NewDatabase:
    """These commands are for a registry in one directory."""
    return nullcontext


def backed_up(registry: Registry, target: Path) -> Path:
    back_up(DataDirectory(registry.data), registry.app.state.services.garbage._store, target)
    return target


def blob(directory: Path, data: bytes) -> Path:
    return directory / "blobs" / blob_name(sha256_bytes(data))


def test_restored_registry_serves_every_version_and_passes_a_scrub(
    registry: Registry, team: Caller, tmp_path: Path
) -> None:
    versions = {team.published("team/tickets", module_files(fill=fill)): module_files(fill=fill) for fill in (0.1, 0.2)}
    restore(backed_up(registry, tmp_path / "backup"), tmp_path / "restored", None)
    with running(Settings(data=tmp_path / "restored")) as restored:
        reader = Caller(restored.client, team.token)
        for oid, files in versions.items():
            for path, data in files.items():
                assert reader.get(f"/team/tickets/resolve/{oid}/{path}").content == data
        own = restored.app.state.services.garbage
        assert Scrubbing(own._database, own._store).run(lambda damage: pytest.fail(str(damage))).damaged == 0
        reader.published("team/tickets", {"notes.txt": b"still writable"})


def test_backup_while_commits_arrive_holds_a_consistent_state(registry: Registry, team: Caller, tmp_path: Path) -> None:
    stop = threading.Event()
    acknowledged: list[tuple[str, bytes]] = []

    def push() -> None:
        while not stop.is_set():
            data = b"%d" % len(acknowledged)
            acknowledged.append((team.published("team/tickets", {"a.txt": data}), data))

    thread = threading.Thread(target=push)
    thread.start()
    try:
        while len(acknowledged) < 3:
            stop.wait(0.01)
        before = list(acknowledged)
        backup = backed_up(registry, tmp_path / "backup")
    finally:
        stop.set()
        thread.join()
    restore(backup, tmp_path / "restored", None)
    with running(Settings(data=tmp_path / "restored")) as restored:
        reader = Caller(restored.client, team.token)
        kept = {commit["id"] for commit in reader.get("/api/models/team/tickets/commits/main").json()}
        assert {oid for oid, _ in before} <= kept
        for oid, data in acknowledged:
            if oid in kept:
                assert reader.get(f"/team/tickets/resolve/{oid}/a.txt").content == data


def test_backup_is_not_touched_by_what_happens_to_the_registry(
    registry: Registry, team: Caller, tmp_path: Path
) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    backup = backed_up(registry, tmp_path / "backup")
    blob(registry.data, b"kept").unlink()
    team.published("team/tickets", {"b.txt": b"kept"})
    assert blob(backup, b"kept").read_bytes() == b"kept"


def test_backup_works_as_a_replica(registry: Registry, team: Caller, tmp_path: Path) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    backed_up(registry, tmp_path / "backup")
    blob(registry.data, b"kept").unlink()
    done = run("petapter-registry", "scrub", "--data", registry.data, "--replica", tmp_path / "backup")
    assert done.returncode == 0, done.stdout
    assert team.get("/team/tickets/resolve/main/a.txt").content == b"kept"


@pytest.mark.parametrize("harm", ["damage", "loss"])
def test_damaged_backup_is_refused_and_leaves_nothing(
    registry: Registry, team: Caller, tmp_path: Path, harm: str
) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    backup = backed_up(registry, tmp_path / "backup")
    blob(backup, b"kept").unlink()
    if harm == "damage":
        blob(backup, b"kept").write_bytes(b"evil")
    with pytest.raises(DataDirectoryError, match="use another backup"):
        restore(backup, tmp_path / "place" / "restored", None)
    assert list((tmp_path / "place").iterdir()) == []


def test_registry_that_lacks_a_blob_is_not_backed_up_in_silence(
    registry: Registry, team: Caller, tmp_path: Path
) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    blob(registry.data, b"kept").unlink()
    with pytest.raises(DataDirectoryError, match="petapter-registry scrub"):
        backed_up(registry, tmp_path / "place" / "backup")
    assert list((tmp_path / "place").iterdir()) == []


def test_directories_that_are_there_already_are_left_alone(registry: Registry, tmp_path: Path) -> None:
    backup = backed_up(registry, tmp_path / "backup")
    with pytest.raises(DataDirectoryError, match="there already"):
        backed_up(registry, backup)
    with pytest.raises(DataDirectoryError, match="there already"):
        restore(backup, registry.data, None)


def test_commands_say_what_they_did(registry: Registry, team: Caller, tmp_path: Path) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    done = run("petapter-registry", "backup", "--data", registry.data, "--to", tmp_path / "backup")
    assert done.stdout == f"{tmp_path / 'backup'} holds the database and 2 blobs (38 bytes)\n"
    done = run("petapter-registry", "restore", "--from", tmp_path / "backup", "--data", tmp_path / "restored")
    assert done.stdout.startswith("restored 2 blobs (38 bytes)")
    assert (tmp_path / "restored").stat().st_mode & 0o077 == 0


def test_restoring_from_nothing_is_one_line(tmp_path: Path) -> None:
    done = run("petapter-registry", "restore", "--from", tmp_path / "none", "--data", tmp_path / "restored")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is no backup" in done.stderr


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.mark.s3
def test_blobs_move_between_local_files_and_a_bucket(
    registry: Registry, team: Caller, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    bucket = s3.new_bucket()
    team.published("team/tickets", {"a.txt": b"kept"})
    restore(backed_up(registry, tmp_path / "backup"), tmp_path / "moved", f"s3://{bucket}")
    with running(Settings(data=tmp_path / "moved", blobs=f"s3://{bucket}")) as moved:
        assert Caller(moved.client, team.token).get("/team/tickets/resolve/main/a.txt").content == b"kept"
    store = ObjectBlobStore(s3.open(bucket), tmp_path / "scratch")
    back_up(DataDirectory(tmp_path / "moved"), store, tmp_path / "again")
    assert blob(tmp_path / "again", b"kept").read_bytes() == b"kept"
