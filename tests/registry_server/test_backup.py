"""A backup that is taken while the registry serves comes back byte for byte, or is refused as a whole."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from petapter_registry_server.db.all_tables import METADATA
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.db.row_copy import copy_rows, is_unused
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.services.backup import back_up, restore
from petapter_registry_server.services.scrubbing import Scrubbing
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.digest_names import blob_name
from petapter_schemas.digests import sha256_bytes
from tests.postgres_cluster import Cluster
from tests.registry_process import run
from tests.registry_server.conftest import Caller, NewBlobs, Registry, fresh_database, running
from tests.registry_server.module_bytes import module_files
from tests.registry_server.test_migrations import fill_empty_tables


def backed_up(registry: Registry, target: Path) -> Path:
    back_up(registry.app.state.database, registry.store, target)
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
    registry.store.delete(sha256_bytes(b"kept"))
    team.published("team/tickets", {"b.txt": b"kept"})
    assert blob(backup, b"kept").read_bytes() == b"kept"


def test_backup_works_as_a_replica(registry: Registry, team: Caller, tmp_path: Path) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    backed_up(registry, tmp_path / "backup")
    registry.store.delete(sha256_bytes(b"kept"))
    done = run("petapter-registry", "scrub", *registry.place_with_bytes, "--replica", tmp_path / "backup")
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
    registry.store.delete(sha256_bytes(b"kept"))
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
    done = run("petapter-registry", "backup", *registry.place_with_bytes, "--to", tmp_path / "backup")
    assert done.stdout == f"{tmp_path / 'backup'} holds the database and 2 blobs (38 bytes)\n"
    done = run("petapter-registry", "restore", "--from", tmp_path / "backup", "--data", tmp_path / "restored")
    assert done.stdout.startswith("restored 2 blobs (38 bytes)")
    assert (tmp_path / "restored").stat().st_mode & 0o077 == 0


def test_restoring_from_nothing_is_one_line(tmp_path: Path) -> None:
    done = run("petapter-registry", "restore", "--from", tmp_path / "none", "--data", tmp_path / "restored")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "is no backup" in done.stderr


@pytest.mark.s3
@pytest.mark.postgres
def test_registry_moves_to_postgresql_and_a_bucket_and_goes_on_there(
    registry: Registry, team: Caller, cluster: Cluster, new_blobs: NewBlobs, tmp_path: Path
) -> None:
    """In whatever the first is kept: rows that refer to each other, numbers that go on, tokens, versions, and bytes."""
    for fill in (0.1, 0.2):
        oid = team.published("team/tickets", module_files(fill=fill))
    assert team.call("POST", f"/api/models/team/tickets/tag/{oid}", json={"tag": "v1.0.0"}).status_code == 200
    backup, moved = backed_up(registry, tmp_path / "backup"), tmp_path / "moved"
    with fresh_database(cluster) as url:
        place = ["--data", str(moved), "--database", url, "--blobs", new_blobs() or ""]
        done = run("petapter-registry", "restore", "--from", backup, *place)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert not (moved / "registry.sqlite").exists()
        again = run("petapter-registry", "restore", "--from", backup, *place[:1], tmp_path / "again", *place[2:])
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        assert "holds a registry already" in again.stderr
        with running(Settings(data=moved, database=url, blobs=place[-1])) as restored:
            reader = Caller(restored.client, team.token)
            for path, data in module_files(fill=0.2).items():
                assert reader.get(f"/team/tickets/resolve/v1.0.0/{path}").content == data
            assert reader.head("team/tickets") == oid
            assert len(reader.get("/api/models/team/tickets/commits/main").json()) == 3
            reader.published("team/tickets", module_files(version="1.1.0"))
            restored.caller("newcomer").create("newcomer/first")
            assert restored.app.state.services.audit.verify().id > registry.app.state.services.audit.verify().id


def contents(session: Session) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    return {
        table.name: sorted((tuple(row) for row in session.execute(table.select())), key=repr)
        for table in METADATA.sorted_tables
    }


@pytest.mark.postgres
def test_every_table_is_copied_there_and_back(cluster: Cluster, tmp_path: Path) -> None:
    first, third = Database(tmp_path / "first.sqlite"), Database(tmp_path / "third.sqlite")
    with fresh_database(cluster) as url, closing(first), closing(third):
        second = Database(PostgreSQL(url, connections=2))
        for database in (first, third):
            database.migrate()
        with first.write() as session:
            fill_empty_tables(session.connection())
        for source, target in ((first, second), (second, third)):
            with source.read() as read, target.write() as write:
                assert copy_rows(read, write) > 0
        with first.read() as one, second.read() as two, third.read() as three:
            assert all(contents(one).values())
            assert contents(one) == contents(two) == contents(three)
        second.close()


@pytest.mark.postgres
def test_database_that_fails_leaves_neither_rows_nor_a_directory(
    registry: Registry, team: Caller, cluster: Cluster, tmp_path: Path
) -> None:
    team.published("team/tickets", {"a.txt": b"kept"})
    backup = backed_up(registry, tmp_path / "backup")
    with fresh_database(cluster) as url, closing(Database(PostgreSQL(url, connections=2))) as target:
        with target.write() as session:
            session.execute(text("alter table refs add constraint never check (name <> 'main')"))
        with pytest.raises(DBAPIError, match="never"):
            restore(backup, tmp_path / "place" / "restored", None, target)
        with target.read() as session:
            assert is_unused(session)
    assert list((tmp_path / "place").iterdir()) == []
