import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from petapter_registry_server.app import create_app
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import User
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_schemas.digests import sha256_bytes


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "registry.sqlite")
    database.migrate()
    return database


def test_connections_are_set_up_for_durability(database: Database) -> None:
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    with database.read() as session:
        found = {name: session.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected}
    database.close()
    assert found == expected


def test_failed_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all([User(name="ada", created_ms=0), User(name="ada", created_ms=0)])
    with database.read() as session:
        assert session.get(User, 1) is None
    database.close()


def test_data_of_a_newer_version_is_refused(tmp_path: Path, database: Database) -> None:
    database.close()
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    with pytest.raises(DataDirectoryError, match="newer petapter-registry"):
        create_app(Settings(data=tmp_path))


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 40)
    with pytest.raises(DataDirectoryError, match="cannot be used"):
        create_app(Settings(data=tmp_path))


def test_blob_lies_under_its_digest_and_scratch_is_empty(tmp_path: Path) -> None:
    blobs = LocalBlobStore(tmp_path)
    digest = sha256_bytes(b"x")
    with blobs.scratch() as directory:
        (directory / "file").write_bytes(b"x")
        blobs.promote({digest: directory / "file"})
    assert blobs.local_file(digest, tmp_path) == tmp_path / "blobs/sha256" / digest[:2] / digest[2:4] / digest
    assert b"".join(blobs.open(digest).chunks) == b"x"
    assert [place for place in (tmp_path / "scratch").rglob("*") if place.is_file()] == []


def test_opening_a_registry_clears_what_a_crash_left_in_scratch(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "left").mkdir(parents=True)
    create_app(Settings(data=tmp_path))
    assert not (tmp_path / "scratch" / "left").exists()


def test_opening_a_store_beside_a_server_leaves_its_scratch_alone(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "in-use").mkdir(parents=True)
    LocalBlobStore(tmp_path)
    assert (tmp_path / "scratch" / "in-use").exists()


def test_missing_blob_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LocalBlobStore(tmp_path).local_file("0" * 64, tmp_path)


def test_environment_sets_what_the_command_line_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_REGISTRY_MAX_FILE_BYTES", "5")
    monkeypatch.setenv("PETAPTER_REGISTRY_PORT", "1")
    settings = Settings.model_validate({"data": tmp_path, "port": 2})
    assert (settings.max_file_bytes, settings.port) == (5, 2)


@pytest.mark.parametrize(
    ("host", "said", "expected"),
    [
        ("127.0.0.1", None, True),
        ("::1", None, True),
        ("localhost", None, True),
        ("192.0.2.1", None, False),
        ("registry.example", None, False),
        ("192.0.2.1", True, True),
        ("127.0.0.1", False, False),
    ],
)
def test_anonymous_callers_read_where_only_this_machine_can_reach(
    tmp_path: Path, host: str, said: bool | None, expected: bool
) -> None:
    assert Settings(data=tmp_path, host=host, anonymous_read=said).anonymous_may_read is expected
