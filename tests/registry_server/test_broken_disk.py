"""Disks that are full, broken or read-only, and too many open files: a clear answer, nothing half done or lost."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from petapter_registry_server.api import receiving
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import PassingError, StorageFullError, StoreError, WritesStoppedError
from petapter_registry_server.services.scrubbing import Scrubbing
from petapter_registry_server.settings import Settings
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.registry_api import API
from tests.registry_server.broken_disk import Deed, broken
from tests.registry_server.conftest import Caller, Registry, member_of_team, running
from tests.registry_server.module_bytes import module_files

OLD = module_files()
NEW = module_files(version="1.1.0", fill=1.0)
STATUSES = {errno.ENOSPC: 507, errno.EDQUOT: 507, errno.EIO: 503, errno.EMFILE: 503, errno.EROFS: 503}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Registry]:
    """A registry over SQLite and local files."""
    with running(Settings(data=tmp_path / "data")) as opened:
        yield opened


def published(registry: Registry) -> Caller:
    """A member of a team whose module is there in version 1.0.0."""
    team = member_of_team(registry)
    team.published("team/tickets", OLD)
    assert team.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1.0.0"}).status_code == 200
    return team


def check_is_told(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Error-Message"] == answer.json()["error"]


def check_nothing_happened(registry: Registry, team: Caller, head: str) -> None:
    """Main and the version are what they were, every byte of them is there, and scratch is empty."""
    assert team.head("team/tickets") == head
    for path, data in OLD.items():
        assert team.get(f"/team/tickets/resolve/v1.0.0/{path}").content == data
    assert registry.files_in_scratch() == []
    damages: list[object] = []
    Scrubbing(registry.app.state.database, registry.store).run(damages.append)
    assert damages == []


@pytest.mark.parametrize(("deed", "number"), [("open", errno.EMFILE), ("write", errno.ENOSPC)])
def test_push_that_cannot_be_received_is_refused_and_succeeds_afterwards(
    registry: Registry, deed: Deed, number: int
) -> None:
    team = published(registry)
    head = team.head("team/tickets")
    with broken(registry.data, deed, number):
        check_is_told(team.commit("team/tickets", NEW), STATUSES[number])
    check_nothing_happened(registry, team, head)
    assert team.commit("team/tickets", NEW).status_code == 200


@pytest.mark.parametrize("deed", ["open", "write", "mkdir", "replace"])
def test_push_that_cannot_be_stored_is_refused_and_succeeds_afterwards(local: Registry, deed: Deed) -> None:
    team = published(local)
    head = team.head("team/tickets")
    for number, status in STATUSES.items():
        with broken(local.data, deed, number):
            check_is_told(team.commit("team/tickets", NEW), status)
            assert team.get("/team/tickets/resolve/main/petapter.json").content == OLD["petapter.json"]
        check_nothing_happened(local, team, head)
    assert team.commit("team/tickets", NEW).status_code == 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_file_that_was_sent_apart_onto_a_broken_disk_is_refused_and_taken_afterwards(
    local: Registry, number: int
) -> None:
    team = published(local)
    href = _address_for(team, b"bytes")
    with broken(local.data, "write", number):
        check_is_told(local.anonymous.call("PUT", href, content=b"bytes"), STATUSES[number])
    assert local.stored(b"bytes") is None
    assert local.anonymous.call("PUT", href, content=b"bytes").status_code == 200
    assert local.stored(b"bytes") == b"bytes"


def _address_for(team: Caller, data: bytes) -> str:
    wanted = {"oid": sha256_bytes(data), "size": len(data)}
    answer = team.call(
        "POST", "/team/tickets.git/info/lfs/objects/batch", json={"operation": "upload", "objects": [wanted]}
    )
    href: str = answer.json()["objects"][0]["actions"]["upload"]["href"]
    return href


def test_failed_sync_stops_all_writes_until_the_server_is_started_again(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    with running(settings) as registry:
        team = published(registry)
        head = team.head("team/tickets")
        with broken(registry.data, "fsync", errno.EIO):
            check_is_told(team.commit("team/tickets", NEW), 503)
        _check_only_reads(registry, team)
        check_nothing_happened_to_reads(team, head)
    with running(settings) as again:
        team = Caller(again.client, team.token)
        check_nothing_happened(again, team, head)
        assert again.anonymous.get("/readyz").status_code == 200
        assert team.commit("team/tickets", NEW).status_code == 200


def _check_only_reads(registry: Registry, team: Caller) -> None:
    """Nothing is acknowledged by any way in, and a balancer hears of it."""
    refused = [
        team.commit("team/tickets", NEW),
        team.create("team/other"),
        team.call("POST", "/api/models/team/tickets/branch/next", json={}),
        registry.anonymous.call("PUT", _address_for(team, b"bytes"), content=b"bytes"),
    ]
    for answer in refused:
        check_is_told(answer, 503)
        assert "until it is restarted" in answer.json()["error"]
    yank = team.call("PUT", f"{API}/modules/team/tickets/versions/1.0.0/yank", json={"reason": "wrong"})
    assert (yank.status_code, yank.headers["content-type"]) == (503, "application/problem+json")
    assert (yank.json()["title"], int(yank.headers["Retry-After"]) > 0) == ("Service Unavailable", True)
    ready = registry.anonymous.get("/readyz")
    assert (ready.status_code, "restart" in ready.json()["problems"][0]) == (503, True)
    assert registry.anonymous.get("/health").status_code == 200


def check_nothing_happened_to_reads(team: Caller, head: str) -> None:
    assert team.head("team/tickets") == head
    assert team.get(f"{API}/modules/team/tickets").json()["latest"] == "1.0.0"
    for path, data in OLD.items():
        assert team.get(f"/team/tickets/resolve/v1.0.0/{path}").content == data


def test_sync_that_fails_while_a_file_arrives_stops_all_writes_too(
    local: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_FLUSH_BYTES", 1)
    team = published(local)
    data = b"x" * 1000
    href = _address_for(team, data)
    with broken(local.data, "fsync", errno.EIO):
        check_is_told(local.anonymous.call("PUT", href, content=data), 503)
    check_is_told(team.create("team/other"), 503)


def test_sync_that_the_database_could_not_make_stops_all_writes(local: Registry) -> None:
    team = published(local)
    with pytest.raises(PassingError), local.app.state.database.write():
        raise _of_sqlite(sqlite3.SQLITE_IOERR_FSYNC)
    answer = team.create("team/other")
    check_is_told(answer, 503)
    assert "until it is restarted" in answer.json()["error"]


def _of_sqlite(code: int) -> OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return OperationalError("COMMIT", None, error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_IOERR_WRITE, PassingError),
        (sqlite3.SQLITE_READONLY, PassingError),
        (sqlite3.SQLITE_CANTOPEN, PassingError),
    ],
)
def test_what_sqlite_may_not_write_now_it_may_write_later(
    local: Registry, code: int, expected: type[PassingError]
) -> None:
    database: Database = local.app.state.database
    with pytest.raises(expected), database.write():
        raise _of_sqlite(code)
    assert member_of_team(local).head("team/tickets")


def test_write_under_way_when_a_sync_fails_elsewhere_is_not_committed(local: Registry) -> None:
    team = published(local)
    database: Database = local.app.state.database

    def change() -> None:
        with database.write() as session:
            session.connection().exec_driver_sql("update repositories set private = true")
            database.writes.stop()

    with pytest.raises(WritesStoppedError):
        change()
    assert local.anonymous.get("/api/models/team/tickets").json()["sha"] == team.head("team/tickets")


def test_full_disk_keeps_nobody_from_reading(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token's use and a download are noted when they can be, and reading does not wait for that."""
    team = published(local)

    def full(_database: Database) -> Any:
        raise StorageFullError

    reader = local.caller("grace", "read")
    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", full)
        assert reader.get("/team/tickets/resolve/main/petapter.json").content == OLD["petapter.json"]
        local.app.state.services.downloads.write()
    local.app.state.services.downloads.write()
    assert team.get("/api/models/team/tickets").json()["downloads"] == 1


def test_object_store_that_does_not_answer_says_when_to_come_back(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = published(registry)

    def gone(*_asked: object) -> None:
        raise StoreError("the object store could not store a blob: no answer")

    monkeypatch.setattr(registry.store, "promote", gone)
    check_is_told(team.commit("team/tickets", NEW), 503)


def test_other_errors_of_the_system_stay_bugs(local: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    team = published(local)

    def missing(*_asked: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(local.store, "promote", missing)
    assert team.commit("team/tickets", NEW).status_code == 500
