"""Gated repositories: seen by all, downloaded by those who were let in."""

import pytest

from tests.registry_server.conftest import Caller, Registry

SETTINGS = "/api/models/team/tickets/settings"
REQUESTS = "/api/models/team/tickets/user-access-request"
FILE = "/team/tickets/resolve/main/a.txt"


@pytest.fixture
def grace(registry: Registry) -> Caller:
    return registry.caller("grace")


def gate(team: Caller, mode: str | bool) -> None:
    team.published("team/tickets", {"a.txt": b"1"})
    assert team.call("PUT", SETTINGS, json={"gated": mode}).status_code == 200


def statuses(team: Caller, status: str) -> list[str]:
    return [request["user"]["user"] for request in team.get(f"{REQUESTS}/{status}").json()]


def test_list_is_filtered_by_gates(registry: Registry, team: Caller) -> None:
    team.create("team/closed")
    assert team.call("PUT", "/api/models/team/closed/settings", json={"gated": "auto"}).status_code == 200
    for asked, found in (
        ("True", {"team/closed"}),
        ("false", {"team/tickets"}),
        (None, {"team/closed", "team/tickets"}),
    ):
        listed = registry.anonymous.get("/api/models", params={} if asked is None else {"gated": asked}).json()
        assert {model["id"] for model in listed} == found


def test_gated_repository_is_seen_but_its_files_are_not_given(registry: Registry, team: Caller, grace: Caller) -> None:
    gate(team, "manual")
    info = grace.get("/api/models/team/tickets")
    assert (info.status_code, info.json()["gated"]) == (200, "manual")
    for caller, status in ((registry.anonymous, 401), (grace, 403)):
        for method in ("HEAD", "GET"):
            answer = caller.call(method, FILE)
            assert (answer.status_code, answer.headers["X-Error-Code"]) == (status, "GatedRepo")
    assert (
        "Access to model team/tickets is restricted and you are not in the authorized list"
        in (grace.get(FILE).headers["X-Error-Message"])
    )
    assert grace.get("/api/models/team/tickets/auth-check").headers["X-Error-Code"] == "GatedRepo"


def test_members_and_admins_need_no_leave(registry: Registry, team: Caller) -> None:
    gate(team, "manual")
    assert [caller.get(FILE).status_code for caller in (team, registry.admin)] == [200, 200]


def test_who_asks_at_an_automatic_gate_is_let_in(team: Caller, grace: Caller) -> None:
    gate(team, "auto")
    assert grace.call("POST", "/api/models/team/tickets/ask-access").json() == {"status": "accepted"}
    assert grace.get(FILE).content == b"1"


def test_who_asks_elsewhere_waits_until_a_member_decides(team: Caller, grace: Caller) -> None:
    gate(team, "manual")
    for _ in range(2):
        assert grace.call("POST", "/team/tickets/ask-access").json() == {"status": "pending"}
    assert (statuses(team, "pending"), grace.get(FILE).status_code) == (["grace"], 403)
    assert team.call("POST", f"{REQUESTS}/handle", json={"user": "grace", "status": "accepted"}).status_code == 200
    assert (statuses(team, "accepted"), grace.get(FILE).status_code) == (["grace"], 200)
    number = team.get(f"{REQUESTS}/accepted").json()[0]["requestId"]
    body = {"requestId": number, "status": "rejected", "rejectionReason": "no"}
    assert team.call("POST", f"{REQUESTS}/handle", json=body).status_code == 200
    assert (statuses(team, "rejected"), grace.get(FILE).status_code) == (["grace"], 403)


def test_somebody_can_be_let_in_unasked(team: Caller, grace: Caller) -> None:
    gate(team, "manual")
    assert team.call("POST", f"{REQUESTS}/grant", json={"user": "grace"}).status_code == 200
    assert grace.get(FILE).status_code == 200


def test_opened_repository_asks_nobody(registry: Registry, team: Caller) -> None:
    gate(team, "manual")
    gate(team, mode=False)
    assert registry.anonymous.get(FILE).status_code == 200
    assert team.get("/api/models/team/tickets").json()["gated"] is False


def test_others_neither_gate_nor_decide_nor_see_who_asked(team: Caller, registry: Registry) -> None:
    gate(team, "manual")
    stranger = registry.caller("mary")
    answers = [
        stranger.call("PUT", SETTINGS, json={"gated": False}),
        stranger.call("POST", f"{REQUESTS}/grant", json={"user": "mary"}),
        stranger.call("POST", f"{REQUESTS}/handle", json={"user": "mary", "status": "accepted"}),
        stranger.get(f"{REQUESTS}/pending"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert stranger.get(FILE).status_code == 403


def test_bad_requests_at_the_gate_are_clear(registry: Registry, team: Caller) -> None:
    assert team.call("POST", "/api/models/team/tickets/ask-access").status_code == 400
    gate(team, "manual")
    assert registry.anonymous.call("POST", "/team/tickets/ask-access").status_code == 401
    for body in (
        {"user": "grace", "status": "accepted"},
        {"requestId": "7", "status": "accepted"},
        {"status": "other"},
    ):
        answer = team.call("POST", f"{REQUESTS}/handle", json=body)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
    assert team.call("POST", f"{REQUESTS}/grant", json={"user": "nobody"}).status_code == 400
    assert team.call("PUT", SETTINGS, json={"gated": "sometimes"}).status_code == 400
    assert team.get(f"{REQUESTS}/sometimes").status_code == 400
