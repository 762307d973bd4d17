"""Login by browser as huggingface_hub does it, with a person at the other end."""

from typing import Any

import pytest
from typer.testing import CliRunner

from petapter_registry_server.cli import app
from petapter_registry_server.services import device_login
from petapter_registry_server.services.accounts import TokenLimits
from tests.registry_server.conftest import Caller, Registry

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def begin(registry: Registry) -> dict[str, Any]:
    answer = registry.anonymous.call("POST", "/oauth/device", data={"client_id": "any"})
    assert answer.status_code == 200
    device: dict[str, Any] = answer.json()
    return device


def poll(registry: Registry, device: dict[str, Any]) -> Any:
    fields = {"grant_type": GRANT, "device_code": device["device_code"], "client_id": "any"}
    return registry.anonymous.call("POST", "/oauth/token", data=fields)


def decide(caller: Caller, device: dict[str, Any], verdict: str) -> Any:
    return caller.call("POST", f"/api/petapter/v1/devices/{device['user_code']}/{verdict}")


def actions(registry: Registry) -> list[tuple[str, str]]:
    rows = registry.admin.get("/api/petapter/v1/audit").json()
    return [(row["actor"], row["action"]) for row in rows]


def test_approved_program_gets_a_token_of_the_approver_once(registry: Registry, team: Caller) -> None:
    device = begin(registry)
    assert device["verification_uri"] == "http://registry.test/oauth/device"
    assert (poll(registry, device).status_code, poll(registry, device).json()["error"]) == (
        400,
        "authorization_pending",
    )
    assert decide(team, device, "approve").status_code == 200
    token = poll(registry, device).json()
    assert 0 < token["expires_in"] <= 30 * 86_400
    program = Caller(registry.client, token["access_token"])
    assert program.commit("team/tickets", {"a.txt": b"1"}).status_code == 200
    assert poll(registry, device).json()["error"] == "expired_token"
    assert actions(registry)[-3:-1] == [("ada", "login.approved"), ("ada", "token.create")]


def test_refused_program_gets_nothing(registry: Registry, team: Caller) -> None:
    device = begin(registry)
    assert decide(team, device, "deny").status_code == 200
    assert poll(registry, device).json()["error"] == "access_denied"
    assert decide(team, device, "approve").status_code == 400
    assert actions(registry)[-1] == ("ada", "login.denied")


@pytest.mark.parametrize("limits", [TokenLimits(scope="write"), TokenLimits(scope="admin", pattern="team/*")])
def test_limited_token_cannot_approve(registry: Registry, team: Caller, limits: TokenLimits) -> None:
    device = begin(registry)
    token = registry.app.state.services.accounts.issue_token("ada", "write", limits).secret
    assert decide(Caller(registry.client, token), device, "approve").status_code == 403
    assert decide(registry.anonymous, device, "approve").status_code == 401
    assert decide(registry.caller("ada", "read"), device, "approve").status_code == 403
    assert poll(registry, device).json()["error"] == "authorization_pending"


def test_approval_of_an_admin_makes_no_admin(registry: Registry) -> None:
    device = begin(registry)
    decide(registry.admin, device, "approve")
    program = Caller(registry.client, poll(registry, device).json()["access_token"])
    assert program.get("/api/petapter/v1/audit").status_code == 403


def test_console_approves_for_a_user(registry: Registry, team: Caller) -> None:
    device = begin(registry)
    words = ["token", "approve", device["user_code"].lower(), "--user", "ada", *registry.place]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    program = Caller(registry.client, poll(registry, device).json()["access_token"])
    assert program.get("/api/whoami-v2").json()["name"] == "ada"


def test_login_ends_after_a_while(registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    device = begin(registry)
    later = device_login.now_ms() + 900_000
    monkeypatch.setattr(device_login, "now_ms", lambda: later)
    assert decide(team, device, "approve").status_code == 400
    assert poll(registry, device).json()["error"] == "expired_token"


def test_number_of_waiting_programs_is_bounded(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_login, "_MAX_WAITING", 1)
    begin(registry)
    answer = registry.anonymous.call("POST", "/oauth/device")
    assert (answer.status_code, answer.json()["error"]) == (400, "temporarily_unavailable")


def test_address_says_how_to_approve(registry: Registry) -> None:
    said = registry.anonymous.get("/oauth/device").text
    assert "http://registry.test/api/petapter/v1/devices/CODE/approve" in said
