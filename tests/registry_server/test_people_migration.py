"""What an older database holds keeps its meaning."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from petapter_registry_server.db import schema
from petapter_registry_server.db.engine import Database
from petapter_registry_server.services.access import token_sha256
from petapter_registry_server.services.audit_log import AuditLog
from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Caller, Registry, running

TOKENS = {"read": "ppt_reads", "write": "ppt_writes", "admin": "ppt_rules"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory of the first tables: ada owns `team`, with a token of each role and one that is revoked."""
    database = Database(tmp_path / "registry.sqlite")
    with database._for("write").begin() as connection:
        schema.upgrade(connection, "0001")
    database.close()
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as connection, connection:
        connection.executescript("""
            INSERT INTO users VALUES (1, 'ada', 1000);
            INSERT INTO namespaces VALUES (1, 'ada', 'ada', 1, 1000), (2, 'team', 'team', NULL, 1000);
            INSERT INTO memberships VALUES (1, 1, 'owner'), (2, 1, 'owner');
            INSERT INTO audit VALUES (1, 1000, '(command line)', 'user.create', 'ada', ''),
                                     (2, 1001, 'ada', 'namespace.create', 'team', 'ü "quoted"'),
                                     (5, 1002, 'ada', 'commit', 'team/x', 'main');
        """)
        for number, (role, secret) in enumerate(TOKENS.items(), 1):
            row = (number, 1, token_sha256(secret), role, 1000, None)
            connection.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO tokens VALUES (9, 1, ?, 'write', 1000, 2000)", (token_sha256("ppt_gone"),))
    return tmp_path


@pytest.fixture
def registry(old: Path) -> Iterator[Registry]:
    with running(Settings(data=old)) as opened:
        yield opened


def test_owners_are_admins(registry: Registry) -> None:
    owner = Caller(registry.client, TOKENS["write"])
    assert owner.get("/api/petapter/v1/organisations").json() == [{"name": "team", "role": "admin"}]
    assert owner.get("/api/petapter/v1/organisations/team/members").json() == [
        {"user": "ada", "role": "admin", "disabled": False}
    ]


def test_tokens_keep_their_roles(registry: Registry) -> None:
    reads, writes, rules = (Caller(registry.client, TOKENS[role]) for role in ("read", "write", "admin"))
    assert [caller.create("team/x").status_code for caller in (reads, writes)] == [403, 200]
    assert [caller.delete("team/x").status_code for caller in (reads, writes)] == [403, 200]
    assert [caller.get("/api/petapter/v1/audit").status_code for caller in (reads, writes, rules)] == [403, 403, 200]
    assert rules.create("ada/y").status_code == 200


def test_revoked_tokens_stay_revoked(registry: Registry) -> None:
    assert Caller(registry.client, "ppt_gone").get("/api/models").status_code == 401


def test_audit_is_chained_as_it_was(old: Path) -> None:
    database = Database(old / "registry.sqlite")
    database.migrate()
    log = AuditLog(database)
    assert log.verify().id == 5
    assert [(line.id, line.subject, line.detail) for line in log.lines()] == [
        (1, "ada", ""),
        (2, "team", 'ü "quoted"'),
        (5, "team/x", "main"),
    ]
    database.close()
