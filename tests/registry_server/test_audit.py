"""The audit: a row for every change, and no change of a row unseen."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from petapter_registry_server.api.route_policy import POLICY, QUESTIONS
from petapter_registry_server.db import audit
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import DamagedAuditError
from petapter_registry_server.services.accounts import Accounts
from petapter_registry_server.services.audit_log import AuditEnd, AuditLog
from petapter_registry_server.web.all_pages import PAGES
from tests.registry_process import run
from tests.registry_server.conftest import Caller, Registry, commit_body
from tests.registry_server.module_bytes import module_files

AUDIT = "/api/petapter/v1/audit"
MODEL = "/api/models/team/tickets"
MEMBERS = "/api/petapter/v1/organisations/team/members"
GRANTS = "/api/petapter/v1/modules/team/tickets/grants"

PUBLISHER = {"pattern": "ada/*", "issuer": "https://issuer.example", "audience": "x", "claims": {"sub": "x"}}

WEBHOOK = {"for": "team/*", "url": "https://8.8.8.8/a-secret-path"}

CHANGES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "POST /api/repos/create": (
        "repository.create", "/api/repos/create", {"json": {"name": "x", "organization": "team"}},
    ),
    "DELETE /api/repos/delete": (
        "repository.delete", "/api/repos/delete", {"json": {"name": "tickets", "organization": "team"}},
    ),
    "POST /api/models/{namespace}/{name}/commit/{revision}": (
        "commit", f"{MODEL}/commit/main", {"content": commit_body({"a.txt": b"1"})},
    ),
    "POST /api/models/{namespace}/{name}/branch/{revision}": ("branch.create", f"{MODEL}/branch/b2", {}),
    "DELETE /api/models/{namespace}/{name}/branch/{revision}": ("branch.delete", f"{MODEL}/branch/b1", {}),
    "POST /api/models/{namespace}/{name}/tag/{revision}": ("tag.create", f"{MODEL}/tag/main", {"json": {"tag": "v2"}}),
    "DELETE /api/models/{namespace}/{name}/tag/{revision}": ("tag.delete", f"{MODEL}/tag/v1", {}),
    "PUT /api/models/{namespace}/{name}/settings": (
        "repository.visibility", f"{MODEL}/settings", {"json": {"visibility": "private"}},
    ),
    "POST /api/repos/move": (
        "repository.move", "/api/repos/move", {"json": {"fromRepo": "team/tickets", "toRepo": "team/letters"}},
    ),
    "POST /api/models/{namespace}/{name}/super-squash/{revision}": ("squash", f"{MODEL}/super-squash/main", {}),
    "POST /api/models/{namespace}/{name}/ask-access": ("gate.ask", "/api/models/team/gated/ask-access", {}),
    "POST /{namespace}/{name}/ask-access": ("gate.ask", "/team/gated/ask-access", {}),
    "POST /api/models/{namespace}/{name}/user-access-request/grant": (
        "gate.grant", f"{MODEL}/user-access-request/grant", {"json": {"user": "eve"}},
    ),
    "POST /api/models/{namespace}/{name}/user-access-request/handle": (
        "gate.decide", "/api/models/team/gated/user-access-request/handle",
        {"json": {"user": "grace", "status": "accepted"}},
    ),
    "PUT /api/petapter/v1/modules/{namespace}/{name}/versions/{version}/yank": (
        "version.yank", "/api/petapter/v1/modules/team/module/versions/1.0.0/yank", {"json": {"reason": "wrong"}},
    ),
    "DELETE /api/petapter/v1/modules/{namespace}/{name}/versions/{version}/yank": (
        "version.unyank", "/api/petapter/v1/modules/team/module/versions/1.1.0/yank", {},
    ),
    "PUT /api/petapter/v1/modules/{namespace}/{name}/channels/{channel}": (
        "channel.move", "/api/petapter/v1/modules/team/module/channels/stable", {"json": {"version": "1.0.0"}},
    ),
    "DELETE /api/petapter/v1/modules/{namespace}/{name}/channels/{channel}": (
        "channel.move", "/api/petapter/v1/modules/team/module/channels/next", {},
    ),
    "PUT /api/petapter/v1/modules/{namespace}/{name}/grants/{user}": (
        "grant.set", f"{GRANTS}/eve", {"json": {"role": "read"}},
    ),
    "DELETE /api/petapter/v1/modules/{namespace}/{name}/grants/{user}": ("grant.remove", f"{GRANTS}/grace", {}),
    "POST /api/petapter/v1/organisations": (
        "namespace.create", "/api/petapter/v1/organisations", {"json": {"name": "another"}},
    ),
    "PUT /api/petapter/v1/organisations/{organisation}/members/{user}": (
        "member.set", f"{MEMBERS}/eve", {"json": {"role": "read"}},
    ),
    "DELETE /api/petapter/v1/organisations/{organisation}/members/{user}": ("member.remove", f"{MEMBERS}/grace", {}),
    "DELETE /api/petapter/v1/organisations/{organisation}/membership": (
        "member.remove", "/api/petapter/v1/organisations/team/membership", {},
    ),
    "POST /api/petapter/v1/tokens": ("token.create", "/api/petapter/v1/tokens", {"json": {"name": "ci"}}),
    "POST /api/petapter/v1/publishers": ("publisher.create", "/api/petapter/v1/publishers", {"json": PUBLISHER}),
    "DELETE /api/petapter/v1/publishers/{publisher}": ("publisher.remove", "/api/petapter/v1/publishers/1", {}),
    "POST /api/petapter/v1/webhooks": ("webhook.create", "/api/petapter/v1/webhooks", {"json": WEBHOOK}),
    "POST /api/petapter/v1/webhooks/{webhook}/ping": ("webhook.ping", "/api/petapter/v1/webhooks/1/ping", {}),
    "POST /api/petapter/v1/webhooks/{webhook}/secret": ("webhook.rotate", "/api/petapter/v1/webhooks/1/secret", {}),
    "DELETE /api/petapter/v1/webhooks/{webhook}": ("webhook.remove", "/api/petapter/v1/webhooks/1", {}),
    "DELETE /api/petapter/v1/tokens/{token}": ("token.revoke", "/api/petapter/v1/tokens/{token}", {}),
}  # fmt: skip
"""For every unsafe route the action of its row, and a request that changes something in `changed`."""
SILENT = QUESTIONS | {
    "POST /api/models/{namespace}/{name}/preupload/{revision}",
    "POST /{namespace}/{name}/info/lfs/objects/batch",
    "POST /{namespace}/{name}/info/lfs/verify",
    "PUT /api/uploads/{signed}",
    "POST /api/uploads/{signed}",
    "POST /api/xet/v1/xorbs/default/{xorb_hash}",
    "POST /api/xet/v1/shards",
    "POST /oauth/device",
}
"""Unsafe by their method, and they change nothing that anybody sees: the commit that names sent bytes has its row, and
a login that nobody approves is forgotten."""
ELSEWHERE = {
    "POST /oauth/token",
    "POST /api/petapter/v1/devices/{code}/approve",
    "POST /api/petapter/v1/devices/{code}/deny",
    "POST /api/petapter/v1/evalsets/{namespace}",
    "PUT /api/petapter/v1/evalsets/{namespace}/{name}/settings",
    "DELETE /api/petapter/v1/evalsets/{namespace}/{name}/versions/{version}/rows",
    "POST /api/petapter/v1/modules/{namespace}/{name}/evaluation-jobs",
    "POST /api/petapter/v1/modules/{namespace}/{name}/evaluations",
    *(f"{m} {route.path}" for part in PAGES for route in part.router.routes if isinstance(route, Route)
      for m in route.methods or ()),
}  # fmt: skip
"""Tested in test_trusted_publishing.py, with an issuer, in test_device_login.py, with a device, in test_handed_in.py,
test_evaluation_sets.py and test_evaluation_jobs.py, with rows and somebody who measured, and for the forms of pages,
which need a page to come from, in test_page_forms.py."""
UNSAFE = sorted(r for r in POLICY if r.split()[0] not in {"GET", "HEAD"} and r not in SILENT | ELSEWHERE)


@pytest.fixture
def changed(registry: Registry, team: Caller) -> Caller:
    """An admin of `team` beside another one, with something of every kind to take away."""
    for user in ("grace", "eve"):
        registry.caller(user)
    team.call("POST", f"{MODEL}/branch/b1")
    team.call("POST", f"{MODEL}/tag/main", json={"tag": "v1"})
    team.call("PUT", f"{MEMBERS}/grace", json={"role": "admin"})
    team.call("PUT", f"{GRANTS}/grace", json={"role": "read"})
    team.create("team/gated")
    team.call("PUT", "/api/models/team/gated/settings", json={"gated": "manual"})
    registry.caller("grace").call("POST", "/api/models/team/gated/ask-access")
    publish_module(team)
    team.call("POST", "/api/petapter/v1/publishers", json=PUBLISHER)
    team.call("POST", "/api/petapter/v1/webhooks", json=WEBHOOK)
    return team


def publish_module(team: Caller) -> None:
    """`team/module` with the versions 1.0.0, and 1.1.0, which is yanked, and the channel `next`."""
    team.create("team/module")
    for version in ("1.0.0", "1.1.0"):
        oid = team.published("team/module", module_files(version=version))
        team.call("POST", f"/api/models/team/module/tag/{oid}", json={"tag": f"v{version}"})
    native = "/api/petapter/v1/modules/team/module"
    team.call("PUT", f"{native}/versions/1.1.0/yank", json={"reason": "wrong labels"})
    team.call("PUT", f"{native}/channels/next", json={"version": "1.0.0"})


def rows(registry: Registry) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = registry.admin.get(AUDIT, params={"limit": 1000}).json()
    return found


@pytest.mark.parametrize("route", UNSAFE)
def test_route_that_changes_something_writes_a_row(registry: Registry, changed: Caller, route: str) -> None:
    action, path, options = CHANGES[route]
    before = rows(registry)
    token = changed.get("/api/petapter/v1/tokens").json()[0]["id"]
    answer = changed.call(route.partition(" ")[0], path.format(token=token), **options)
    assert answer.status_code == 200, answer.text
    (row,) = rows(registry)[len(before) :]
    assert (row["actor"], row["action"]) == ("ada", action)


def test_refused_change_writes_no_row(registry: Registry, changed: Caller) -> None:
    before = rows(registry)
    assert registry.caller("eve").commit("team/tickets", {"a.txt": b"1"}).status_code == 403
    assert changed.call("POST", f"{MODEL}/branch/b1").status_code == 409
    assert [row["action"] for row in rows(registry)[len(before) :]] == ["token.create"]


def test_audit_is_read_in_pages(registry: Registry, team: Caller) -> None:
    first = registry.admin.get(f"{AUDIT}?limit=3")
    second = registry.admin.get(first.links["next"]["url"])
    ids = [row["id"] for row in first.json() + second.json()]
    assert ids == list(range(1, len(ids) + 1))
    assert len(first.json()) == 3
    assert "next" not in registry.admin.get(f"{AUDIT}?after={ids[-1]}").links


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "registry.sqlite")
    database.migrate()
    accounts = Accounts(database)
    for user in ("ada", "grace", "eve"):
        accounts.create_user(user)
    yield database
    database.close()


def path_of(database: Database) -> Path:
    return Path(str(database.engine.url.database))


def tamper(database: Database, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path_of(database))) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def test_untouched_audit_is_whole(database: Database) -> None:
    assert AuditLog(database).verify().id == 3


@pytest.mark.parametrize("row", [1, 2, 3])
@pytest.mark.parametrize(
    "change",
    ["actor = 'x'", "action = 'x'", "subject = 'x'", "detail = 'x'", "at_ms = at_ms + 1", "id = id + 10",
     "sha256 = replace(sha256, substr(sha256, 1, 1), 'g')"],
)  # fmt: skip
def test_change_of_any_field_of_any_row_is_found(database: Database, row: int, change: str) -> None:
    tamper(database, f"UPDATE audit SET {change} WHERE id = ?", row)  # noqa: S608 (a list above)
    with pytest.raises(DamagedAuditError):
        AuditLog(database).verify()


@pytest.mark.parametrize("row", [1, 2, 3])
def test_removal_of_any_row_is_found(database: Database, row: int) -> None:
    tamper(database, "DELETE FROM audit WHERE id = ?", row)
    with pytest.raises(DamagedAuditError):
        AuditLog(database).verify()


def test_row_that_was_added_behind_the_registrys_back_is_found(database: Database) -> None:
    end = AuditLog(database).verify()
    digest = audit.Entry(1, "x", "x", "x", "").sha256_after(end.sha256, 4)
    tamper(database, "INSERT INTO audit VALUES (4, 1, 'x', 'x', 'x', '', ?)", digest)
    with pytest.raises(DamagedAuditError, match="row 3 was written last"):
        AuditLog(database).verify()


def test_end_that_was_noted_proves_that_the_chain_was_not_rewritten(database: Database) -> None:
    log = AuditLog(database)
    end = log.verify()
    Accounts(database).create_user("mallory")
    assert log.verify(end).id == 4
    with pytest.raises(DamagedAuditError, match="no row 3"):
        log.verify(AuditEnd(3, "0" * 64))


def test_deed_that_fails_leaves_no_row(database: Database) -> None:
    def fails() -> None:
        with database.write() as session:
            audit.record(session, actor="x", action="x", subject="x")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fails()
    assert AuditLog(database).verify().id == 3


def test_concurrent_writers_do_not_fork_the_chain(database: Database) -> None:
    other = Database(path_of(database))  # as a second process has it: its own connections, its own turn-taking
    ready = threading.Barrier(8)

    def write(number: int) -> None:
        ready.wait()
        for step in range(5):
            with (database, other)[number % 2].write() as session:
                audit.record(session, actor=f"writer {number}", action="x", subject=str(step))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    other.close()
    assert AuditLog(database).verify().id == 3 + 8 * 5


def test_console_exports_and_verifies(database: Database) -> None:
    data = path_of(database).parent
    exported = run("petapter-registry", "audit", "export", "--data", data)
    assert [line.split('"action": ')[1].split(",")[0] for line in exported.stdout.splitlines()] == ['"user.create"'] * 3
    end = run("petapter-registry", "audit", "verify", "--data", data)
    assert (end.returncode, end.stdout[:2]) == (0, "3:")
    again = run("petapter-registry", "audit", "verify", "--data", data, "--contains", end.stdout.strip())
    assert again.returncode == 0
    tamper(database, "UPDATE audit SET subject = 'x' WHERE id = 2")
    damaged = run("petapter-registry", "audit", "verify", "--data", data)
    assert (damaged.returncode, damaged.stderr.count("\n")) == (1, 1)
    assert "row 2 of the audit" in damaged.stderr
