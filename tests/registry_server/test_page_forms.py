"""What forms do, and that none is taken that a page of this registry did not send to this browser."""

import re
from dataclasses import replace
from typing import Any

import pytest
from starlette.routing import Route

from petapter_registry_server.services import web_sessions
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.web.all_pages import PAGES
from petapter_registry_server.web.pages.login import local_path
from petapter_registry_server.web.visitors import PROOF
from tests.registry_server.browser_caller import SESSION, Browser, text_of
from tests.registry_server.conftest import Caller, Registry, member_of_team
from tests.registry_server.page_modules import publish
from tests.registry_server.varied_modules import Varied

UNSAFE = sorted(
    f"{method} {route.path}"
    for part in PAGES
    for route in part.router.routes
    if isinstance(route, Route)
    for method in route.methods or ()
    if method != "GET"
)


@pytest.fixture
def anonymous(registry: Registry) -> Browser:
    return Browser.of(registry, None)


@pytest.fixture
def ada(registry: Registry, team: Caller) -> Browser:
    return Browser.of(registry, team.token)


def log_in(browser: Browser, token: str, **fields: str) -> Any:
    return browser.post("/web/login", {"token": token, **fields})


def actions(registry: Registry) -> list[str]:
    return [row["action"] for row in registry.admin.get("/api/petapter/v1/audit?limit=1000").json()]


def test_login_begins_with_a_token_and_the_cookie_holds_none(anonymous: Browser, team: Caller) -> None:
    assert team.token is not None
    answer = log_in(anonymous, team.token, next="/team?a=b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/team?a=b")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{SESSION}="))
    assert team.token not in cookie
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly", "max-age=43200", "path=/", "samesite=lax",
    }  # fmt: skip
    logged_in = replace(anonymous, cookie=cookie.split(";")[0].removeprefix(f"{SESSION}="))
    assert "Log out" in text_of(logged_in.get("/"))
    out = logged_in.post("/web/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/")
    assert f'{SESSION}=""' in out.headers["set-cookie"]


def test_login_that_was_ended_is_worth_nothing_to_who_kept_its_cookie(
    anonymous: Browser, team: Caller, ada: Browser
) -> None:
    assert team.token is not None
    began = [log_in(anonymous, team.token).headers.get_list("set-cookie") for _ in range(2)]
    stolen, other = (
        replace(anonymous, cookie=line.split(";")[0].removeprefix(f"{SESSION}="))
        for lines in began
        for line in lines
        if line.startswith(f"{SESSION}=")
    )
    assert stolen.post("/web/logout").status_code == 303
    for path in ("/", "/web/tokens", "/team/tickets"):
        answer = stolen.get(path)
        assert answer.status_code == 401
        assert "your login has ended" in text_of(answer)
    assert stolen.post("/web/tokens", {"name": "x"}).status_code == 401
    assert other.get("/web/tokens").status_code == 200
    assert ada.get("/web/tokens").status_code == 200


def test_ended_logins_are_forgotten_when_their_cookies_are_too_old(
    registry: Registry, anonymous: Browser, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert team.token is not None
    for lifetime_s in (-1, 3600):
        cookie = next(line for line in log_in(anonymous, team.token).headers.get_list("set-cookie") if SESSION in line)
        browser = replace(anonymous, cookie=cookie.split(";")[0].removeprefix(f"{SESSION}="))
        session = browser.sessions.read(browser.cookie or "")
        monkeypatch.setattr(web_sessions, "LIFETIME_S", lifetime_s)
        browser.sessions.end(session)
        monkeypatch.undo()
        assert registry.rows("SELECT count(*) FROM ended_logins") == [(1,)]


def test_cookie_of_a_login_over_https_belongs_to_this_host_alone(registry: Registry, team: Caller) -> None:
    origin = "https://registry.test"
    page = registry.client.get(f"{origin}/web/login")
    proof = re.search(rf'name="{PROOF}" value="([0-9a-f]+)"', page.text)
    assert proof is not None
    form = page.headers["set-cookie"]
    assert form.startswith("__Host-petapter-form=")
    assert "; Secure" in form
    answer = registry.client.post(
        f"{origin}/web/login", data={PROOF: proof[1], "token": team.token},
        headers={"origin": origin, "cookie": form.split(";")[0]}, follow_redirects=False,
    )  # fmt: skip
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-petapter="))
    assert "; Secure" in cookie
    assert "domain" not in cookie.lower()


def test_wrong_token_is_named_on_the_form(anonymous: Browser) -> None:
    answer = log_in(anonymous, "ppt_wrong")
    assert answer.status_code == 401
    assert "this token is unknown, was revoked or has expired" in text_of(answer)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "/a\nb"])
def test_login_leads_to_no_other_site(path: str) -> None:
    assert local_path(path) == "/"
    assert local_path("/team/tickets?revision=v1.0.0") == "/team/tickets?revision=v1.0.0"


def test_login_ends_with_its_token(registry: Registry, ada: Browser) -> None:
    (row,) = registry.rows("SELECT max(id) FROM tokens")
    registry.app.state.services.accounts.revoke_token(row[0])
    for path in ("/", "/web/tokens", "/team/tickets"):
        answer = ada.get(path)
        assert answer.status_code == 401
        assert "your login has ended, or its token was revoked or has expired" in text_of(answer)
        assert f'{SESSION}=""' in answer.headers["set-cookie"]
    assert ada.get("/web/login").status_code == 200


def test_login_ends_after_its_time(ada: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_sessions, "LIFETIME_S", -1)
    answer = ada.get("/web/tokens")
    assert answer.status_code == 401
    assert "Your login has ended" in text_of(answer)


@pytest.mark.parametrize("cookie", ["x", "W10.x.y", "é", "a" * 5000])
def test_forged_login_is_an_ended_one(registry: Registry, cookie: str) -> None:
    answer = registry.client.get("/web/tokens", headers={"cookie": f"{SESSION}={cookie}".encode()})
    assert answer.status_code == 401


def test_api_takes_no_cookies_and_pages_take_no_tokens(registry: Registry, team: Caller, ada: Browser) -> None:
    assert ada.get("/api/petapter/v1/tokens").status_code == 401
    assert team.get("/web/tokens").status_code == 401


def fill_in(route: str) -> str:
    return route.split()[1].format(
        namespace="team", name="tickets", version="1.0.0", organisation="team", token=1, webhook=1, identity=1
    )


def test_every_form_of_the_pages_is_known_here() -> None:
    assert len(UNSAFE) == 19


@pytest.fixture(scope="module")
def shared_ada(shared_registry: Registry) -> Browser:
    """For forms that are refused, so that nothing changes."""
    return Browser.of(shared_registry, member_of_team(shared_registry).token)


@pytest.mark.parametrize("route", UNSAFE)
def test_form_from_another_site_is_refused(shared_ada: Browser, route: str) -> None:
    for origin in ("https://evil.test", "null", "http://registry.test.evil.test", "http://registry.test:81"):
        answer = shared_ada.post(fill_in(route), headers={"origin": origin})
        assert answer.status_code == 403
        assert "this form was sent from another site" in text_of(answer)
    headers = {"cookie": f"{SESSION}={shared_ada.cookie}", "content-type": "application/x-www-form-urlencoded"}
    body = f"{PROOF}={shared_ada.proof()}"  # no page sends a form without an Origin
    assert shared_ada.registry.client.post(fill_in(route), headers=headers, content=body).status_code == 403


@pytest.mark.parametrize("route", UNSAFE)
def test_form_with_the_proof_of_another_login_is_refused(shared_ada: Browser, route: str) -> None:
    admin = Browser.of(shared_ada.registry, shared_ada.registry.admin_token)  # who may do all that forms do
    for proof in ("", "00" * 64, "zz", admin.sessions.form_proof(""), admin.sessions.form_proof("another")):
        answer = admin.post(fill_in(route), {PROOF: proof})
        assert answer.status_code == 403, route
        assert "this form belongs to another login" in text_of(answer)


def test_proof_is_another_one_each_time(ada: Browser) -> None:
    assert ada.proof() != ada.proof()


def test_token_is_made_shown_once_and_revoked(registry: Registry, ada: Browser) -> None:
    answer = ada.post("/web/tokens", {"name": "laptop", "scope": "write", "pattern": "team/*", "days": "30"})
    secret = re.search(r"ppt_[A-Za-z0-9_-]+", answer.text)
    assert secret is not None
    assert Caller(registry.client, secret[0]).commit("team/tickets", {"a.txt": b"1"}).status_code == 200
    listed = ada.get("/web/tokens")
    assert secret[0] not in listed.text
    assert "laptop write team/*" in text_of(listed)
    number = re.findall(r"/web/tokens/(\d+)/revoke", listed.text)[0]
    assert ada.post(f"/web/tokens/{number}/revoke").status_code == 303
    assert Caller(registry.client, secret[0]).get("/api/whoami-v2").status_code == 401
    assert actions(registry)[-1] == "token.revoke"


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "scope": "owner"}, "scope"),
        ({"name": "x", "days": "0"}, "days"),
        ({"name": "x", "days": "many"}, "days"),
        ({"name": "x", "pattern": "team"}, "'team' is no pattern of repositories"),
        ({"name": "x" * 101}, "the name of a token has 1 to 100 characters"),
    ],
)
def test_bad_field_is_named(ada: Browser, fields: dict[str, str], cause: str) -> None:
    answer = ada.post("/web/tokens", fields)
    assert answer.status_code == 400
    assert cause in answer.text.replace("&#39;", "'")


def test_token_without_the_right_is_told_which_one_is_missing(registry: Registry, team: Caller) -> None:
    issue = registry.app.state.services.accounts.issue_token
    reader = Browser.of(registry, issue("ada", "write", TokenLimits(scope="read")).secret)
    answer = reader.post("/web/tokens", {"name": "x"})
    assert answer.status_code == 403
    assert "this token may only read: ask for a token with the role 'admin'" in answer.text.replace("&#39;", "'")


def test_version_is_yanked_with_a_reason_and_shown_again(registry: Registry, team: Caller, ada: Browser) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    silent = ada.post("/team/tickets/versions/1.0.0/yank", {"reason": " "})
    assert silent.status_code == 400
    assert "say in a line why the version is withdrawn" in text_of(silent)
    answer = ada.post("/team/tickets/versions/1.0.0/yank", {"reason": "labels were swapped"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/team/tickets?revision=v1.0.0#versions")
    assert "labels were swapped" in text_of(Browser.of(registry, None).get("/team/tickets?revision=v1.0.0"))
    assert "No module matches" in text_of(ada.get("/"))
    assert ada.post("/team/tickets/versions/1.0.0/unyank").status_code == 303
    assert "1 module" in text_of(ada.get("/"))
    assert actions(registry)[-2:] == ["version.yank", "version.unyank"]


def test_members_are_added_and_taken_out(registry: Registry, team: Caller, ada: Browser) -> None:
    registry.app.state.services.accounts.create_user("grace")
    members = "/web/organisations/team/members"
    assert ada.post(members, {"user": "grace", "role": "write"}).status_code == 303
    assert "grace write" in text_of(ada.get("/web/organisations/team"))
    last = ada.post(members, {"user": "ada", "role": "read"})
    assert last.status_code == 409
    assert "is the last admin of" in text_of(last)
    assert ada.post(f"{members}/remove", {"user": "grace"}).status_code == 303
    assert "grace" not in ada.get("/web/organisations/team").text
    assert ada.post(members, {"user": "nobody"}).status_code == 404
    assert actions(registry)[-2:] == ["member.set", "member.remove"]


def test_organisation_is_founded(registry: Registry, ada: Browser) -> None:
    answer = ada.post("/web/organisations", {"name": "lab"})
    assert answer.headers["location"] == "/web/organisations/lab"
    assert "lab" in text_of(ada.get("/web/organisations"))
    assert actions(registry)[-1] == "namespace.create"


def test_access_is_asked_for_and_given(registry: Registry, team: Caller, ada: Browser) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    team.call("PUT", "/api/models/team/tickets/settings", json={"gated": "manual"})
    grace = Browser.of(registry, registry.caller("grace").token)
    closed = grace.get("/team/tickets")
    assert "Ask for access" in text_of(closed)
    assert "/resolve/" not in closed.text
    assert grace.post("/team/tickets/access/ask").status_code == 303
    assert "You have asked; somebody decides." in text_of(grace.get("/team/tickets"))
    assert "Waiting User Since Decide grace" in text_of(ada.get("/team/tickets/access"))
    assert ada.post("/team/tickets/access/decide", {"user": "grace", "status": "accepted"}).status_code == 303
    assert "/resolve/" in grace.get("/team/tickets").text
    assert actions(registry)[-2:] == ["gate.ask", "gate.decide"]


def test_program_that_shows_a_code_is_let_in(registry: Registry, ada: Browser) -> None:
    device = registry.anonymous.call("POST", "/oauth/device", data={"client_id": "x"}).json()
    browser = {"accept": "text/html,*/*;q=0.8"}
    led = registry.client.get("/oauth/device", headers=browser, follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, "/web/devices")
    answer = ada.post("/web/devices", {"code": device["user_code"], "decision": "approve"})
    assert "is logged in as you" in text_of(answer)
    again = ada.post("/web/devices", {"code": device["user_code"], "decision": "deny"})
    assert again.status_code == 400
    assert "no login waits with the code" in text_of(again)


def test_webhook_is_made_tested_and_removed(registry: Registry, ada: Browser) -> None:
    fields = {"for": "team/tickets", "url": "https://8.8.8.8/hook", "publish": "on", "evaluation": "on"}
    answer = ada.post("/web/webhooks", fields)
    secret = re.search(r"whsec_[A-Za-z0-9+/=]+", answer.text)
    assert secret is not None
    listed = ada.get("/web/webhooks")
    assert secret[0] not in listed.text
    assert "https://8.8.8.8/hook team/tickets publish, evaluation ready" in text_of(listed)
    assert ada.post("/web/webhooks/1/ping").headers["location"] == "/web/webhooks/1"
    shown = ada.get("/web/webhooks/1")
    assert "Webhooks of team/tickets" in text_of(shown)
    assert re.search(r"ping \S+ \S+ waiting 0", text_of(shown))
    turned = ada.post("/web/webhooks/1/secret", {"hours": "24"})
    another = re.search(r"whsec_[A-Za-z0-9+/=]+", turned.text)
    assert another is not None
    assert another[0] != secret[0]
    assert "Until then messages are signed with the former secret too" in text_of(turned)
    assert another[0] not in ada.get("/web/webhooks/1").text
    refused = ada.post("/web/webhooks/1/secret", {"hours": "1000"})
    assert (refused.status_code, "hours" in text_of(refused)) == (400, True)
    assert ada.post("/web/webhooks/1/remove").status_code == 303
    assert "There is none yet." in text_of(ada.get("/web/webhooks"))
    assert ada.get("/web/webhooks/1").status_code == 404
    assert actions(registry)[-4:] == ["webhook.create", "webhook.ping", "webhook.rotate", "webhook.remove"]


@pytest.mark.parametrize(
    ("changed", "status", "cause"),
    [
        ({"url": "https://192.168.1.1/"}, 400, "192.168.1.1 is not on the public internet and is not asked"),
        ({"url": "http://8.8.8.8/"}, 400, "it must be an https address"),
        ({"url": ""}, 400, "url"),
        ({"for": "team"}, 400, "'team' is no pattern of repositories"),
        ({"for": "admin/*"}, 404, "there is no user or organisation 'admin'"),
        ({"publish": ""}, 400, "name the events to hear of"),
    ],
)
def test_bad_webhook_is_a_page_that_names_the_cause(
    ada: Browser, changed: dict[str, str], status: int, cause: str
) -> None:
    fields = {"for": "team/*", "url": "https://8.8.8.8/hook", "publish": "on", **changed}
    answer = ada.post("/web/webhooks", fields)
    assert answer.status_code == status
    assert cause in answer.text.replace("&#39;", "'")
    assert "There is none yet." in text_of(ada.get("/web/webhooks"))


def test_reader_of_a_team_is_told_which_role_webhooks_need(registry: Registry, team: Caller) -> None:
    grace = registry.caller("grace")
    team.call("PUT", "/api/petapter/v1/organisations/team/members/grace", json={"role": "read"})
    browser = Browser.of(registry, grace.token)
    answer = browser.post("/web/webhooks", {"for": "team/*", "url": "https://8.8.8.8/hook", "publish": "on"})
    assert answer.status_code == 403
    assert "grace has the role 'read' in team/*, and this needs 'admin'" in answer.text.replace("&#39;", "'")
    limited = registry.app.state.services.accounts.issue_token("ada", "write", TokenLimits(scope="write")).secret
    refused = Browser.of(registry, limited).get("/web/webhooks")
    assert refused.status_code == 403
    assert "this token may only write" in text_of(refused)
    assert "webhooks" not in text_of(browser.get("/team"))
