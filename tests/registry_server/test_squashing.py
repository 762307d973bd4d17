"""Squashing a branch, and what must stay."""

from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.module_bytes import module_files


def test_squashed_branch_holds_the_same_files_in_one_commit(team: Caller) -> None:
    for n in range(3):
        team.published("team/tickets", {f"{n}.txt": b"%d" % n})
    files = team.paths("team/tickets")
    answer = team.call("POST", "/api/models/team/tickets/super-squash/main", json={"message": "one"})
    assert answer.status_code == 200
    history = team.get("/api/models/team/tickets/commits/main").json()
    assert [commit["title"] for commit in history] == ["one"]
    assert history[0]["id"] == team.head("team/tickets") == answer.json()["commitOid"]
    assert team.paths("team/tickets") == files


def test_history_with_a_published_version_is_not_squashed(team: Caller) -> None:
    oid = team.published("team/tickets", module_files())
    team.call("POST", f"/api/models/team/tickets/tag/{oid}", json={"tag": "v1.0.0"})
    team.published("team/tickets", {"notes.txt": b"later"})
    answer = team.call("POST", "/api/models/team/tickets/super-squash/main", json={})
    assert answer.status_code == 400
    assert "v1.0.0 is published" in answer.json()["error"]
    assert len(team.get("/api/models/team/tickets/commits/main").json()) == 3


def test_squashed_module_is_still_one(team: Caller) -> None:
    team.published("team/tickets", module_files())
    before = team.get("/api/models/team/tickets").json()
    assert team.call("POST", "/api/models/team/tickets/super-squash/main", json={}).status_code == 200
    after = team.get("/api/models/team/tickets").json()
    assert after["tags"] == before["tags"] != []


def test_only_members_squash(registry: Registry, team: Caller) -> None:
    answer = registry.caller("grace").call("POST", "/api/models/team/tickets/super-squash/main", json={})
    assert answer.status_code == 403
    assert team.call("POST", "/api/models/team/tickets/super-squash/nope", json={}).status_code == 404
