from typing import Any

import pytest

from petapter_registry_server.db.tables import Token
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.patterns import covers
from tests.registry_server.conftest import Caller, Registry

TOKENS = "/api/petapter/v1/tokens"


def made(caller: Caller, **wish: Any) -> Caller:
    answer = caller.call("POST", TOKENS, json={"name": "ci", **wish})
    assert answer.status_code == 200, answer.text
    return Caller(caller.client, answer.json()["token"])


def limited(registry: Registry, **limits: Any) -> Caller:
    issued = registry.app.state.services.accounts.issue_token("ada", "write", TokenLimits(**limits))
    return Caller(registry.client, issued.secret)


def test_owner_makes_sees_and_revokes_a_token(team: Caller) -> None:
    token = made(team, scope="write", pattern="team/*", days=30)
    assert token.commit("team/tickets", {"a.txt": b"1"}).status_code == 200
    listed = {line["id"]: line for line in team.get(TOKENS).json()}
    (number,) = [number for number, line in listed.items() if line["name"] == "ci"]
    assert (listed[number]["scope"], listed[number]["pattern"]) == ("write", "team/*")
    assert "token" not in listed[number]
    assert team.call("DELETE", f"{TOKENS}/{number}").status_code == 200
    assert token.get("/api/whoami-v2").headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_token_of_somebody_else_can_neither_be_seen_nor_revoked(registry: Registry, team: Caller) -> None:
    stranger = registry.caller("eve")
    (mine,) = [line["id"] for line in stranger.get(TOKENS).json()]
    answer = team.call("DELETE", f"{TOKENS}/{mine}")
    assert (answer.status_code, answer.json()["detail"]) == (400, f"you have no token {mine}")
    assert mine not in {line["id"] for line in team.get(TOKENS).json()}
    assert stranger.get("/api/whoami-v2").status_code == 200


@pytest.mark.parametrize(
    ("limits", "wish", "status"),
    [
        ({"scope": "admin", "pattern": "team/*"}, {"scope": "admin", "pattern": "team/tickets"}, 200),
        ({"scope": "admin", "pattern": "team/*"}, {"scope": "admin", "pattern": "team/*"}, 200),
        ({"scope": "admin", "pattern": "team/*"}, {"scope": "read", "pattern": "other/*"}, 403),
        ({"scope": "admin", "pattern": "team/*"}, {"scope": "read"}, 403),
        ({"scope": "admin", "pattern": "team/tickets"}, {"scope": "read", "pattern": "team/*"}, 403),
        ({"scope": "maintain"}, {"scope": "read"}, 403),
    ],
)
def test_token_makes_none_with_more_power_than_itself(
    registry: Registry, team: Caller, limits: dict[str, Any], wish: dict[str, Any], status: int
) -> None:
    answer = limited(registry, **limits).call("POST", TOKENS, json={"name": "ci", **wish})
    assert answer.status_code == status


def test_token_of_an_admin_makes_no_admins(registry: Registry, team: Caller) -> None:
    token = made(registry.admin, scope="admin")
    assert token.commit("team/tickets", {"a.txt": b"1"}).status_code == 403


def test_token_ends_no_later_than_the_one_that_made_it(registry: Registry) -> None:
    from petapter_registry_server.clock import hub_date, now_ms

    end = now_ms() + 60_000
    first = limited(registry, scope="admin", expires_ms=end)
    made(first, days=90)
    assert [line["expiresAt"] for line in first.get(TOKENS).json()] == [hub_date(end)] * 2


def test_expired_token_is_refused_in_the_words_that_clients_match(registry: Registry) -> None:
    answer = limited(registry, expires_ms=1).get("/api/whoami-v2")
    assert (answer.status_code, answer.headers["X-Error-Message"]) == (
        401,
        "Invalid credentials in Authorization header",
    )


def test_token_of_too_small_a_scope_is_told_so(registry: Registry, team: Caller) -> None:
    answer = limited(registry, scope="read", pattern="team/*").commit("team/tickets", {"a.txt": b"1"})
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "this token may only read: ask for a token with the role 'write'",
    )


def test_token_for_other_repositories_is_told_so(registry: Registry, team: Caller) -> None:
    answer = limited(registry, scope="write", pattern="ada/*").commit("team/tickets", {"a.txt": b"1"})
    assert (answer.status_code, answer.json()["error"]) == (
        403,
        "this token is for ada/*: use one that is for team/tickets",
    )


def test_whoami_shows_a_fine_grained_token_in_the_hubs_shape(registry: Registry, team: Caller) -> None:
    token = made(team, scope="write", pattern="team/*").get("/api/whoami-v2").json()["auth"]["accessToken"]
    assert (token["displayName"], token["role"]) == ("ci", "fineGrained")
    assert token["fineGrained"] == {
        "canReadGatedRepos": False,
        "global": [],
        "scoped": [
            {"entity": {"type": "org", "name": "team"}, "permissions": ["repo.content.read", "repo.write"]},
        ],
    }


def test_last_use_is_written_at_most_once_a_minute(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = registry.caller("ada")
    times = iter([1_000_000, 1_059_999, 1_060_000])
    found = []
    for now in times:
        monkeypatch.setattr("petapter_registry_server.services.access.now_ms", lambda now=now: now)
        caller.get("/api/whoami-v2")
        with registry.app.state.services.access._database.read() as session:
            found.append(session.query(Token.last_used_ms).order_by(Token.id.desc()).first()[0])
    assert found == [1_000_000, 1_000_000, 1_060_000]


@pytest.mark.parametrize("pattern", ["team", "*/*", "*", "team/", "team/a*", "team/a/b", "api/*", ""])
def test_text_that_is_no_pattern_is_refused(team: Caller, pattern: str) -> None:
    answer = team.call("POST", TOKENS, json={"name": "ci", "scope": "read", "pattern": pattern})
    assert answer.status_code == 400


@pytest.mark.parametrize("days", [0, -1, 367, "x"])
def test_number_of_days_is_bounded(team: Caller, days: object) -> None:
    assert team.call("POST", TOKENS, json={"name": "ci", "days": days}).status_code == 400


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\u202eb"])
def test_name_of_a_token_is_one_plain_line(team: Caller, name: str) -> None:
    assert team.call("POST", TOKENS, json={"name": name}).status_code == 400


def test_token_with_a_pattern_needs_a_scope(registry: Registry) -> None:
    with pytest.raises(InvalidRequestError, match="needs a scope"):
        limited(registry, pattern="team/*")


@pytest.mark.parametrize(
    ("pattern", "repo_id", "expected"),
    [
        (None, "team/x", True),
        ("team/*", "team/x", True),
        ("Team/*", "tEAM/x", True),
        ("team/*", "team/*", True),
        ("team/*", "team2/x", False),
        ("team/x", "team/X", True),
        ("team/x", "team/xy", False),
        ("team/x", "team/*", False),
    ],
)
def test_pattern_covers(pattern: str | None, repo_id: str, expected: bool) -> None:
    assert covers(pattern, repo_id) is expected
