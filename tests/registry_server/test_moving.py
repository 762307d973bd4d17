"""Repositories under other names: old addresses lead on, owners do not change behind anybody's back."""

import pytest

from tests.registry_server.conftest import Caller, Registry


def move(caller: Caller, source: str, target: str) -> int:
    body = {"fromRepo": source, "toRepo": target, "type": "model"}
    status: int = caller.call("POST", "/api/repos/move", json=body).status_code
    return status


def test_renamed_repository_answers_under_its_new_name(team: Caller) -> None:
    oid = team.published("team/tickets", {"a.txt": b"1"})
    assert move(team, "team/tickets", "team/letters") == 200
    assert team.get("/api/models/team/letters").json()["sha"] == oid
    assert team.get("/team/letters/resolve/main/a.txt").content == b"1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/team/tickets/resolve/main/a.txt", "/team/letters/resolve/main/a.txt"),
        ("/api/models/team/tickets", "/api/models/team/letters"),
        ("/api/models/Team/Tickets/tree/main?recursive=true", "/api/models/team/letters/tree/main?recursive=true"),
        (
            "/api/models/team/tickets/revision/refs%2Fheads%2Fmain",
            "/api/models/team/letters/revision/refs%2Fheads%2Fmain",
        ),
    ],
)
def test_old_address_leads_to_the_new_one_on_the_same_host(team: Caller, old: str, new: str) -> None:
    team.published("team/tickets", {"a.txt": b"1"})
    move(team, "team/tickets", "team/letters")
    answer = team.get(old, follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (307, new)


def test_commit_to_the_old_name_reaches_the_repository(team: Caller) -> None:
    move(team, "team/tickets", "team/letters")
    oid = team.published("team/tickets", {"a.txt": b"1"})
    assert team.head("team/letters") == oid


def test_old_name_of_a_private_repository_says_nothing_to_others(registry: Registry, team: Caller) -> None:
    team.create("team/secret", private=True)
    move(team, "team/secret", "team/hidden")
    stranger = registry.caller("grace")
    for name in ("secret", "hidden"):
        answer = stranger.get(f"/api/models/team/{name}", follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]) == (404, f"Repository not found: team/{name}")


def test_making_a_repository_of_the_old_name_finds_the_renamed_one(team: Caller) -> None:
    move(team, "team/tickets", "team/letters")
    answer = team.create("team/tickets")
    assert (answer.status_code, answer.json()["url"]) == (409, "http://registry.test/team/letters")


def test_name_can_be_taken_back_by_the_same_repository(team: Caller) -> None:
    assert [move(team, "team/a", "team/b")] == [404]
    assert [move(team, "team/tickets", "team/b"), move(team, "team/b", "team/tickets")] == [200, 200]
    assert team.get("/api/models/team/tickets", follow_redirects=False).status_code == 200
    assert team.get("/api/models/team/b", follow_redirects=False).headers["Location"] == "/api/models/team/tickets"


@pytest.mark.parametrize("target", ["team/other", "team/0ther", "team/tickets"])
def test_name_that_something_has_or_looks_like_is_refused(team: Caller, target: str) -> None:
    team.create("team/other")
    assert move(team, "team/tickets", target) in {400, 409}
    assert team.get("/api/models/team/tickets").json()["id"] == "team/tickets"


def test_former_name_is_given_to_no_other_repository(team: Caller) -> None:
    move(team, "team/tickets", "team/letters")
    team.create("team/other")
    answer = team.call("POST", "/api/repos/move", json={"fromRepo": "team/other", "toRepo": "team/tickets"})
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        "A model repository called team/tickets already exists",
    )


def test_name_may_be_written_otherwise(team: Caller) -> None:
    assert move(team, "team/tickets", "team/Tickets") == 200
    assert team.get("/api/models/team/tickets").json()["id"] == "team/Tickets"


def test_moving_needs_the_right_in_both_namespaces(registry: Registry, team: Caller) -> None:
    grace = registry.caller("grace")
    grace.create("lab/own")
    assert move(team, "team/tickets", "lab/tickets") == 403
    assert move(grace, "team/tickets", "lab/tickets") == 403


def test_old_name_is_retired_where_the_owner_changed(registry: Registry, team: Caller) -> None:
    registry.caller("grace").create("lab/own")
    assert move(registry.admin, "team/tickets", "lab/tickets") == 200
    answer = team.get("/api/models/team/tickets", follow_redirects=False)
    assert answer.status_code == 410
    assert "lab/tickets" in answer.json()["error"]
    assert team.commit("lab/tickets", {"a.txt": b"1"}).status_code == 403
    assert team.create("team/tickets").status_code == 410


def test_namespace_to_move_to_must_exist(team: Caller) -> None:
    answer = team.call("POST", "/api/repos/move", json={"fromRepo": "team/tickets", "toRepo": "nowhere/tickets"})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "there is no namespace 'nowhere' to move to: make it first",
    )


def test_search_finds_a_repository_by_its_new_name(team: Caller) -> None:
    move(team, "team/tickets", "team/letters")
    assert [model["id"] for model in team.get("/api/models?search=letters").json()] == ["team/letters"]
