"""Signing in with an identity provider, which is a real server on this machine."""

import base64
import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import structlog
from joserfc.jwk import ECKey, RSAKey

from petapter_registry_server.services import sign_in
from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Backing, Caller, Registry, running
from tests.registry_server.identity_provider import CLIENT, SECRET, Provider
from tests.registry_server.signing_in.people import (
    CALLBACK,
    COOKIE,
    LOGIN,
    ORIGIN,
    Person,
    link,
    refuses,
    rows,
    settings_for,
)


def test_login_page_offers_the_provider_and_a_token(somebody: Person) -> None:
    shown = somebody.get("/web/login", params={"next": "/web/devices"})
    assert '<a class="button" href="/web/oidc/login?next=/web/devices">Sign in with Acme</a>' in shown.text
    assert '<input id="token" name="token" type="password"' in shown.text


def test_login_page_of_a_registry_without_a_provider_asks_for_a_token_alone(tmp_path: Path) -> None:
    with running(Backing().settings(tmp_path / "data")) as registry:
        somebody = Person(registry)
        assert "Sign in with" not in somebody.get("/web/login").text
        refused = somebody.get(LOGIN)
        assert (refused.status_code, "log in with a token" in text_of(refused)) == (400, True)


def test_browser_is_sent_with_all_that_protects_a_sign_in(somebody: Person, provider: Provider) -> None:
    begun = somebody.get(LOGIN)
    where = urlsplit(begun.headers["location"])
    query = dict(parse_qsl(where.query))
    assert f"{where.scheme}://{where.netloc}{where.path}" == f"{provider.url}/authorize"
    assert {name: query[name] for name in query.keys() - {"state", "nonce", "code_challenge"}} == {
        "tenant": "a", "response_type": "code", "client_id": CLIENT, "redirect_uri": f"{ORIGIN}{CALLBACK}",
        "scope": "openid profile email", "code_challenge_method": "S256",
    }  # fmt: skip
    again = dict(parse_qsl(urlsplit(somebody.get(LOGIN).headers["location"]).query))
    for name in ("state", "nonce", "code_challenge"):
        assert len(query[name]) >= 43
        assert query[name] != again[name]
    cookie = next(line for line in begun.headers.get_list("set-cookie") if line.startswith(f"{COOKIE}="))
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly", "max-age=600", "path=/", "samesite=lax",
    }  # fmt: skip
    assert query["nonce"] not in cookie


@pytest.mark.parametrize("key", [RSAKey.generate_key(2048, {"kid": "r"}), ECKey.generate_key("P-256", {"kid": "e"})])
def test_linked_person_signs_in_and_goes_on(
    registry: Registry, somebody: Person, provider: Provider, key: RSAKey | ECKey
) -> None:
    provider.key = key
    link(registry, provider)
    back = somebody.return_from(provider, f"{LOGIN}?next=/web/organisations%3Fa=b")
    assert (back.status_code, back.headers["location"]) == (303, "/web/organisations?a=b")
    cookie = next(line for line in back.headers.get_list("set-cookie") if line.startswith("petapter="))
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly", "max-age=43200", "path=/", "samesite=lax",
    }  # fmt: skip
    assert somebody.name == "ada"
    assert COOKIE not in somebody.cookies
    assert rows(registry)[-2:] == [("ada", "token.create", "ada"), ("ada", "identity.sign-in", "ada")]
    headers, form = provider.asked[-1]
    assert "client_secret" not in form
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"registry:hush%2Fhush%2B%25"


def test_person_who_signed_in_lets_programs_in_and_makes_tokens(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    link(registry, provider)
    somebody.return_from(provider)
    device = registry.anonymous.call("POST", "/oauth/device", data={"client_id": "x"}).json()
    fields = {"code": device["user_code"], "decision": "approve"}
    assert "is logged in as you" in text_of(somebody.send(somebody.get("/web/devices"), "/web/devices", **fields))
    made = somebody.send(somebody.get("/web/tokens"), "/web/tokens", name="laptop", scope="write", days="90")
    secret = re.search(r"ppt_[A-Za-z0-9_-]+", made.text)
    assert secret is not None
    known = Caller(registry.client, secret[0]).get("/api/whoami-v2").json()
    assert known["name"] == "ada"
    ends = registry.rows("SELECT expires_ms - created_ms FROM tokens WHERE name = 'laptop'")
    assert ends[0][0] >= 89 * 86_400_000


def test_signing_in_makes_nobody_an_admin_of_the_registry(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    registry.app.state.services.identities.link_for("admin", provider.url, provider.claims["sub"])
    somebody.return_from(provider)
    assert somebody.name == "admin"
    assert somebody.get("/web/audit").status_code == 403


def test_client_that_the_provider_wants_to_name_itself_in_the_form_does(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    provider.about["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    link(registry, provider)
    assert somebody.return_from(provider).status_code == 303
    headers, form = provider.asked[-1]
    assert "Authorization" not in headers
    assert (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)


@pytest.mark.parametrize("registry", [{"oidc_client_secret": None}], indirect=True)
def test_client_without_a_secret_signs_in_by_pkce_alone(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    link(registry, provider)
    assert somebody.return_from(provider).status_code == 303
    assert (provider.asked[-1][1]["client_id"], "Authorization" in provider.asked[-1][0]) == (CLIENT, False)


def test_state_of_another_sign_in_is_refused(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    for state in ("other", "", dict(parse_qsl(urlsplit(somebody.get(LOGIN).headers["location"]).query))["state"]):
        refuses(somebody.return_from(provider, state=state), 400, "was not begun in this browser")
    assert provider.asked == []


def test_answer_that_another_browser_brings_is_refused(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    link(registry, provider)
    brought = provider.authorize(somebody.get(LOGIN).headers["location"])
    victim = Person(registry)
    refuses(victim.get(CALLBACK, params=brought), 400, "was not begun in this browser")
    victim.get(LOGIN)
    refuses(victim.get(CALLBACK, params=brought), 400, "was not begun in this browser")


@pytest.mark.parametrize("cookie", ["x", "W10.x.y", "a" * 5000])
def test_forged_cookie_is_refused(somebody: Person, provider: Provider, cookie: str) -> None:
    brought = provider.authorize(somebody.get(LOGIN).headers["location"])
    somebody.cookies[COOKIE] = cookie
    refuses(somebody.get(CALLBACK, params=brought), 400, "was not begun in this browser")


def test_sign_in_is_finished_once(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    brought = provider.authorize(somebody.get(LOGIN).headers["location"])
    kept = dict(somebody.cookies)
    assert somebody.get(CALLBACK, params=brought).status_code == 303
    provider.codes["code-0"] = {}
    refuses(Person(registry, kept).get(CALLBACK, params=brought), 400, "this sign-in is over already")
    assert len(provider.asked) == 1


def test_one_of_many_that_finish_a_sign_in_at_once_gets_in(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    brought = provider.authorize(somebody.get(LOGIN).headers["location"])
    service, cookie = registry.app.state.services.sign_in, somebody.cookies[COOKIE]
    answer = sign_in.ProviderAnswer(brought["state"], brought["code"], None, None)
    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(service.finish, cookie, answer, f"{ORIGIN}{CALLBACK}") for _ in range(16)]
    failed = [str(found.exception()) for found in tries if found.exception()]
    assert (len(failed), set(failed)) == (15, {"this sign-in is over already: sign in again"})


def test_sign_in_that_took_too_long_is_refused(
    registry: Registry, somebody: Person, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    link(registry, provider)
    monkeypatch.setattr(sign_in, "LIFETIME_S", -1)
    refuses(somebody.return_from(provider), 400, "more than ten minutes ago")


def test_disabled_user_does_not_sign_in_until_enabled(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    somebody.return_from(provider)
    accounts = registry.app.state.services.accounts
    accounts.disable_user("ada")
    assert somebody.get("/web/tokens").status_code == 401
    refuses(Person(registry).return_from(provider), 403, "the user 'ada' is disabled")
    accounts.enable_user("ada")
    again = Person(registry)
    again.return_from(provider)
    assert again.name == "ada"
    assert somebody.get("/web/tokens").status_code == 401


def test_logging_out_ends_one_login_and_revoking_its_token_ends_all(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    link(registry, provider)
    other = Person(registry)
    for person in (somebody, other):
        person.return_from(provider)
    kept = dict(somebody.cookies)
    somebody.send(somebody.get("/"), "/web/logout")
    assert Person(registry, kept).get("/web/tokens").status_code == 401
    listed = other.get("/web/tokens")
    assert "sign-in by 127.0.0.1 this login" in text_of(listed)
    number = registry.rows("SELECT token_id FROM identities")[0][0]
    other.send(listed, f"/web/tokens/{number}/revoke")
    assert other.get("/web/tokens").status_code == 401
    other.cookies.clear()
    other.return_from(provider)
    assert other.name == "ada"


@pytest.mark.parametrize("where", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:alert(1)", "/\tx"])
def test_sign_in_leads_nowhere_but_to_this_registry(
    registry: Registry, somebody: Person, provider: Provider, where: str
) -> None:
    link(registry, provider)
    begun = somebody.get(LOGIN, params={"next": where})
    back = somebody.get(CALLBACK, params=provider.authorize(begun.headers["location"]))
    assert (back.status_code, back.headers["location"]) == (303, "/")


def test_very_long_address_to_go_on_with_is_forgotten(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    assert somebody.return_from(provider, f"{LOGIN}?next=/{secrets.token_hex(4000)}").headers["location"] == "/"


@pytest.mark.parametrize(
    "begins", [{"oidc_create_users": True}, {"oidc_create_users": True, "oidc_required_claim": "groups=lab"}]
)
def test_no_log_has_a_secret(
    tmp_path: Path, backing: Backing, provider: Provider, begins: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the client's secret, nor codes, states, tokens, or what is said of people."""
    log = structlog.testing.LogCapture()
    structlog.configure(processors=[log])
    caplog.set_level(0)
    settings = backing.settings(tmp_path / "data", **settings_for(provider, **begins))
    with running(settings) as registry:
        somebody = Person(registry)
        begun = somebody.get(LOGIN).headers["location"]
        query, brought = dict(parse_qsl(urlsplit(begun).query)), provider.authorize(begun)
        somebody.get(CALLBACK, params=brought)
        provider.answer = 401, b'{"error": "invalid_client"}'
        shown = Person(registry).return_from(provider).text
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    said = json.dumps(log.entries) + " ".join(ours) + repr(settings) + shown
    assert any(entry.get("path") == CALLBACK for entry in log.entries)
    sent = provider.asked[0][1]
    for secret in (SECRET, "hush", brought["code"], query["state"], query["nonce"], sent["code_verifier"]):
        assert secret not in said
