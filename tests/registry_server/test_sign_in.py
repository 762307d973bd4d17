"""Signing in with an identity provider, which is a real server on this machine."""

import base64
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import structlog
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from petapter_registry_server.services import sign_in
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.audit_log import AuditLog
from petapter_registry_server.web.visitors import PROOF
from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Backing, Caller, Registry, running
from tests.registry_server.identity_provider import CLIENT, SECRET, Provider, running_provider

ORIGIN = "http://registry.test"
LOGIN, CALLBACK, LINK = "/web/oidc/login", "/web/oidc/callback", "/web/oidc/link"
COOKIE = "petapter-sign-in"


@dataclass
class Person:
    """Somebody with a browser that keeps cookies as browsers do."""

    registry: Registry
    cookies: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, **options: Any) -> Any:
        self.registry.client.cookies.clear()
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"cookie": kept, "origin": ORIGIN}
        answer = self.registry.client.request(method, path, headers=headers, follow_redirects=False, **options)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return answer

    def get(self, path: str, **options: Any) -> Any:
        return self.call("GET", path, **options)

    def send(self, page: Any, path: str, **fields: str) -> Any:
        """Send the form of a page, with what stands in it."""
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return self.call("POST", path, data={**hidden, **fields})

    def log_in(self, token: str | None) -> None:
        assert self.send(self.get("/web/login"), "/web/login", token=token or "").status_code == 303

    def return_from(self, provider: Provider, start: str = LOGIN, **changed: str) -> Any:
        """Go to the provider, sign in there, and come back with what it gives, or something else."""
        begun = self.get(start)
        assert begun.status_code == 303, begun.text
        brought = {**provider.authorize(begun.headers["location"]), **changed}
        return self.get(CALLBACK, params={name: value for name, value in brought.items() if value})

    @property
    def name(self) -> str | None:
        """Whom the registry takes this browser for."""
        shown = re.search(r"Tokens of (\S+)", text_of(self.get("/web/tokens")))
        return shown[1] if shown else None


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as started:
        yield started


def settings_for(provider: Provider, **others: Any) -> dict[str, Any]:
    return {
        "oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_client_secret": SecretStr(SECRET),
        "oidc_label": "Acme", "oidc_loopback": True, **others,
    }  # fmt: skip


@pytest.fixture
def registry(
    request: pytest.FixtureRequest, tmp_path: Path, backing: Backing, provider: Provider
) -> Iterator[Registry]:
    others = getattr(request, "param", {})
    with running(backing.settings(tmp_path / "data", **settings_for(provider, **others))) as opened:
        yield opened


welcoming = pytest.mark.parametrize("registry", [{"oidc_create_users": True}], indirect=True)


@pytest.fixture
def somebody(registry: Registry) -> Person:
    return Person(registry)


def link(registry: Registry, provider: Provider, user: str = "ada") -> None:
    """Let the person whom the provider knows be a user."""
    registry.caller(user)
    registry.app.state.services.identities.link_for(user, provider.url, provider.claims["sub"])


def rows(registry: Registry) -> list[tuple[str, str, str]]:
    found = registry.admin.get("/api/petapter/v1/audit?limit=1000").json()
    return [(row["actor"], row["action"], row["subject"]) for row in found]


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


def refuses(answer: Any, status: int, cause: str) -> None:
    """A page that says why, and begins no login."""
    assert answer.status_code == status, answer.text
    assert cause in answer.text.replace("&#39;", "'")
    assert not [line for line in answer.headers.get_list("set-cookie") if line.startswith("petapter=")]
    assert CALLBACK not in answer.text


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


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"nonce": "other"}, "it is of another sign-in"),
        ({"nonce": None}, "it is of another sign-in"),
        ({"aud": "other"}, "it is for somebody else"),
        ({"aud": None}, "it is for somebody else"),
        ({"aud": [CLIENT, "other"]}, "it is for somebody else"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "it is for somebody else"),
        ({"azp": "other"}, "it is for somebody else"),
        ({"aud": 5}, "it is for somebody else"),
        ({"iss": "https://issuer.example"}, "it is of another issuer"),
        ({"exp": 1}, "not good any more"),
        ({"exp": None}, "its exp is no time"),
        ({"iat": None}, "its iat is no time"),
        ({"nbf": 1 << 39}, "not yet"),
        ({"sub": None}, "who they are"),
        ({"sub": ""}, "who they are"),
        ({"sub": 5}, "who they are"),
        ({"sub": "a" * 256}, "who they are"),
    ],
)
def test_token_that_proves_something_else_is_refused(
    registry: Registry, somebody: Person, provider: Provider, changed: dict[str, Any], cause: str
) -> None:
    link(registry, provider)
    provider.changed = changed
    refuses(somebody.return_from(provider), 400, cause)


def test_token_for_several_that_names_this_registry_as_its_party_is_taken(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    link(registry, provider)
    provider.changed = {"aud": ["other", CLIENT], "azp": CLIENT}
    assert somebody.return_from(provider).status_code == 303


def test_token_of_an_unknown_key_is_refused(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    for kid in ("one", "two"):
        provider.signer = {"alg": "ES256", "kid": kid}, ECKey.generate_key("P-256", {"kid": kid})
        refuses(somebody.return_from(provider), 400, "its signature cannot be verified")


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_token_cannot_choose_its_algorithm(registry: Registry, somebody: Person, provider: Provider) -> None:
    link(registry, provider)
    provider.key = RSAKey.generate_key(2048, {"kid": "one"})
    for header in ({"alg": "none"}, {"alg": "HS256", "kid": "one"}, {"alg": "RS512", "kid": "one"}):
        brought = provider.authorize(somebody.get(LOGIN).headers["location"])
        _, body, signature = provider.sign(provider.codes[brought["code"]]).split(".")
        head = encoded(json.dumps(header).encode())
        public = provider.key.as_pem(private=False)  # what everybody knows, taken for a shared secret
        by_hand = encoded(hmac.new(public, f"{head}.{body}".encode(), sha256).digest())
        signatures = {"none": "", "HS256": by_hand, "RS512": signature}
        provider.token = f"{head}.{body}.{signatures[header['alg']]}"
        refuses(somebody.get(CALLBACK, params=brought), 400, "its signature cannot be verified")


@pytest.mark.parametrize("token", ["x", "a.b.c", "é", "..", "e30.e30."])
def test_token_that_is_none_is_refused(registry: Registry, somebody: Person, provider: Provider, token: str) -> None:
    link(registry, provider)
    provider.token = token
    refuses(somebody.return_from(provider), 400, "its signature cannot be verified")


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        ("access_denied", 403, "signed nobody in (access_denied)"),
        ("login_required", 403, "signed nobody in (login_required)"),
        ("server_error", 502, "answered with server_error"),
        ("temporarily_unavailable", 502, "answered with temporarily_unavailable"),
        ("<script>alert(1)</script>", 403, "no reason that can be shown"),
    ],
)
def test_error_of_the_provider_is_a_page(
    somebody: Person, provider: Provider, error: str, status: int, cause: str
) -> None:
    answer = somebody.return_from(provider, error=error, code="")
    refuses(answer, status, cause)
    assert "<script>alert" not in answer.text


def test_answer_without_a_code_or_of_another_provider_is_refused(somebody: Person, provider: Provider) -> None:
    refuses(somebody.return_from(provider, code=""), 400, "sent no code")
    refuses(somebody.return_from(provider, iss="https://issuer.example"), 400, "of another identity provider")


@pytest.mark.parametrize(
    ("answer", "status", "cause"),
    [
        ((400, b'{"error": "invalid_grant"}'), 400, "does not take the code of this sign-in any more"),
        ((401, b'{"error": "invalid_client"}'), 502, "check its client id and secret"),
        ((500, b"{}"), 502, "answered with status 500"),
        ((503, b"<html>"), 502, "did not answer with JSON"),
        ((200, b"[]"), 502, "something else than an object"),
        ((200, b"{}"), 502, "without an ID token"),
        ((200, b'{"id_token": 5}'), 502, "without an ID token"),
        ((302, b"{}"), 502, "answered with status 302"),
        ((200, b'"' + b"x" * (300 << 10) + b'"'), 502, "more than"),
    ],
)
def test_token_endpoint_that_gives_none_is_a_page(
    somebody: Person, provider: Provider, answer: tuple[int, bytes], status: int, cause: str
) -> None:
    provider.answer = answer
    refuses(somebody.return_from(provider), status, cause)


def test_provider_that_is_down_is_one_clear_page(tmp_path: Path, backing: Backing) -> None:
    with running_provider() as provider:
        others = settings_for(provider)
    with running(backing.settings(tmp_path / "data", **others)) as registry:
        answer = Person(registry).get(LOGIN)
        refuses(answer, 502, "the identity provider Acme cannot be used now")
        assert "log in with a token" in text_of(answer)
        assert COOKIE not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"issuer": "https://issuer.example"}, "calls itself otherwise"),
        ({"authorization_endpoint": "http://8.8.8.8/authorize"}, "must be an https address"),
        ({"authorization_endpoint": None}, "must be an https address"),
        ({"jwks_uri": "https://169.254.169.254/latest"}, "not on the public internet"),
    ],
)
def test_provider_that_publishes_something_odd_is_not_used(
    somebody: Person, provider: Provider, changed: Mapping[str, Any], cause: str
) -> None:
    provider.about |= changed
    refuses(somebody.get(LOGIN), 502, cause)


def test_unknown_person_gets_no_account_unless_a_setting_says_so(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    answer = somebody.return_from(provider)
    refuses(answer, 403, "nobody here is linked with this identity")
    assert f"({provider.url}, subject 248289)" in text_of(answer)
    assert registry.rows("SELECT name FROM users") == [("admin",)]


@welcoming
def test_unknown_person_becomes_a_user_once(registry: Registry, somebody: Person, provider: Provider) -> None:
    for _ in range(2):
        assert Person(registry).return_from(provider).status_code == 303
    assert somebody.return_from(provider).status_code == 303
    assert somebody.name == "grace"
    assert registry.rows("SELECT name FROM users ORDER BY id") == [("admin",), ("grace",)]
    made = [row for row in rows(registry) if row[2] == "grace"]
    assert made[:2] == [("(sign-in)", "user.create", "grace"), ("(sign-in)", "identity.link", "grace")]
    assert made[2:] == [("grace", "token.create", "grace"), *[("grace", "identity.sign-in", "grace")] * 3]
    AuditLog(registry.app.state.database).verify()


@welcoming
@pytest.mark.parametrize(
    "name", ["ada", "ADA", "admin", "a-da", "Ad.a@evil.example", "web", "", "two words", "../x", 5]
)
def test_name_alone_takes_no_account_over(
    registry: Registry, somebody: Person, provider: Provider, name: object
) -> None:
    registry.caller("ada")
    provider.claims["preferred_username"] = name
    refuses(somebody.return_from(provider), 403, "nobody here is linked with this identity")
    assert registry.rows("SELECT count(*) FROM users") == [(2,)]
    assert registry.rows("SELECT count(*) FROM identities") == [(0,)]


@welcoming
def test_name_of_an_organisation_is_taken(registry: Registry, somebody: Person, provider: Provider) -> None:
    assert registry.caller("ada").create("grace/tickets").status_code == 200
    refuses(somebody.return_from(provider), 403, "looks like the namespace")


@pytest.mark.parametrize(
    "registry",
    [{"oidc_create_users": True, "oidc_email_domains": "acme.example, Acme.test", "oidc_name_claim": "email"}],
    indirect=True,
)
def test_newcomers_may_be_those_of_a_domain(registry: Registry, provider: Provider) -> None:
    for email, verified in (
        ("ada@evil.example", True), ("ada@acme.example", False), ("ada@acme.example", None), ("ada", True), (5, True),
        ("ada@acme.example@evil.example", True), ("ada@acme.example", [True]),
    ):  # fmt: skip
        provider.claims = {"sub": "1", "email": email, "email_verified": verified}
        refuses(Person(registry).return_from(provider), 403, "and you cannot become a user here")
    provider.claims = {"sub": "1", "email": "ada@ACME.test", "email_verified": True}
    newcomer = Person(registry)
    newcomer.return_from(provider)
    assert newcomer.name == "ada"


@pytest.mark.parametrize("registry", [{"oidc_create_users": True, "oidc_required_claim": "groups=lab"}], indirect=True)
def test_newcomers_may_be_those_of_a_group(registry: Registry, provider: Provider) -> None:
    for groups in (None, [], ["labs"], "labs", {"lab": 1}):
        provider.claims["groups"] = groups
        refuses(Person(registry).return_from(provider), 403, "the claim 'groups' has not the value")
    provider.claims["groups"] = ["other", "lab"]
    assert Person(registry).return_from(provider).status_code == 303


@welcoming
def test_provider_is_asked_for_what_its_token_does_not_say(
    registry: Registry, somebody: Person, provider: Provider
) -> None:
    del provider.claims["preferred_username"]
    refuses(somebody.return_from(provider), 403, "sends no claim 'preferred_username'")
    other = Person(registry)
    provider.about["userinfo_endpoint"] = f"{provider.url}/userinfo"
    registry.app.state.services.sign_in._provider._issuers._known.clear()
    provider.userinfo = {"sub": "another", "preferred_username": "grace"}
    refuses(other.return_from(provider), 502, "about somebody else")
    provider.userinfo["sub"] = provider.claims["sub"]
    other.return_from(provider)
    assert other.name == "grace"


def test_user_links_an_identity_after_seeing_which(
    registry: Registry, somebody: Person, provider: Provider, team: Caller
) -> None:
    somebody.log_in(team.token)
    assert "Link an identity of Acme" in text_of(somebody.get("/web/identities"))
    asked = somebody.return_from(provider, LINK)
    assert asked.status_code == 200
    assert f"Name there grace Issuer {provider.url} Subject 248289" in text_of(asked)
    assert registry.rows("SELECT count(*) FROM identities") == [(0,)]
    assert somebody.send(asked, "/web/identities").headers["location"] == "/web/identities"
    assert f"{provider.url} 248289" in text_of(somebody.get("/web/identities"))
    assert rows(registry)[-1] == ("ada", "identity.link", "ada")
    elsewhere = Person(registry)
    elsewhere.return_from(provider)
    assert elsewhere.name == "ada"


def test_identity_of_somebody_is_linked_with_nobody_else(
    registry: Registry, somebody: Person, provider: Provider, team: Caller
) -> None:
    link(registry, provider, "grace")
    somebody.log_in(team.token)
    refused = somebody.send(somebody.return_from(provider, LINK), "/web/identities")
    assert (refused.status_code, "signs in as another user already" in text_of(refused)) == (400, True)
    assert registry.rows("SELECT count(*) FROM identities") == [(1,)]


def test_offer_is_for_the_login_that_asked(registry: Registry, provider: Provider, team: Caller) -> None:
    ada, eve = Person(registry), Person(registry)
    ada.log_in(team.token)
    eve.log_in(registry.caller("eve").token)
    offer = re.search(r'name="offer" value="([^"]+)"', eve.return_from(provider, LINK).text)
    assert offer is not None
    page = ada.get("/web/identities")
    for wrong in (offer[1], "x", ""):
        assert ada.send(page, "/web/identities", offer=wrong).status_code == 400
    hidden = ada.call("POST", "/web/identities", data={PROOF: "00", "offer": offer[1]})
    assert hidden.status_code == 403
    assert registry.rows("SELECT count(*) FROM identities") == [(0,)]


def test_link_that_a_login_began_is_not_finished_by_another(
    registry: Registry, somebody: Person, provider: Provider, team: Caller
) -> None:
    somebody.log_in(team.token)
    brought = provider.authorize(somebody.get(LINK).headers["location"])
    del somebody.cookies["petapter"]
    refuses(somebody.get(CALLBACK, params=brought), 400, "has ended: log in and begin again")
    somebody.log_in(team.token)
    brought = provider.authorize(somebody.get(LINK).headers["location"])
    somebody.log_in(registry.caller("eve").token)
    refuses(somebody.get(CALLBACK, params=brought), 400, "has ended: log in and begin again")


@pytest.mark.parametrize(
    "limits", [TokenLimits(scope="admin", pattern="team/*"), TokenLimits(scope="write"), TokenLimits(scope="read")]
)
def test_limited_token_links_nothing(
    registry: Registry, somebody: Person, provider: Provider, team: Caller, limits: TokenLimits
) -> None:
    somebody.log_in(registry.app.state.services.accounts.issue_token("ada", "write", limits).secret)
    assert somebody.get(LINK).status_code == 403
    assert somebody.send(somebody.get("/web/identities"), "/web/identities", offer="x").status_code == 403


def test_identity_that_is_removed_signs_in_no_more_and_its_logins_end(
    registry: Registry, somebody: Person, provider: Provider, team: Caller
) -> None:
    link(registry, provider)
    somebody.return_from(provider)
    owner, stranger = Person(registry), Person(registry)
    owner.log_in(team.token)
    stranger.log_in(registry.caller("eve").token)
    (number,) = registry.rows("SELECT id FROM identities")[0]
    path = f"/web/identities/{number}/remove"
    assert stranger.send(stranger.get("/web/identities"), path).status_code == 400
    assert owner.send(owner.get("/web/identities"), path).status_code == 303
    assert somebody.get("/web/tokens").status_code == 401
    refuses(Person(registry).return_from(provider), 403, "nobody here is linked with this identity")
    assert ("ada", "identity.unlink", "ada") in rows(registry)


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
