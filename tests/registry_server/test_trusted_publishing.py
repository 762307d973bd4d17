"""Tokens for the assertions of a CI, whose issuer is a real server on this machine."""

import ipaddress
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from petapter_registry_server.errors import OutboundError
from petapter_registry_server.services import outbound
from petapter_registry_server.services.outbound import Outbound, is_public
from tests.registry_server.conftest import Backing, Caller, Registry, running
from tests.thread_server import running_in_a_thread

PUBLISHERS = "/api/petapter/v1/publishers"
AUDIENCE = "http://registry.test"
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
CLAIMS = {"repository": "acme/models", "workflow": "release"}


@dataclass
class Issuer:
    """Publishes keys and signs with them."""

    url: str = ""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "one", "use": "sig"}))
    answers: dict[str, Any] = field(default_factory=dict)

    def publish(self) -> None:
        self.answers = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [self.key.as_dict(private=False)]},
        }

    def sign(self, *, header: Mapping[str, Any] | None = None, key: Any = None, **changed: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": f"{time.time_ns()}", **CLAIMS}
        claims = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        used = header or {"alg": "ES256", "kid": self.key.kid}
        return jwt.encode(dict(used), claims, key or self.key, algorithms=[used["alg"]])


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in issuer.answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as issuer.url:
        issuer.publish()
        yield issuer


@pytest.fixture
def registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    with running(backing.settings(tmp_path / "data", oidc_loopback=True)) as opened:
        yield opened


@pytest.fixture
def trusted(team: Caller, issuer: Issuer) -> Issuer:
    """`team/*` trusts the workflow `release` of `acme/models`."""
    assert register(team, issuer).status_code == 200
    return issuer


def register(caller: Caller, trusted: Issuer, **changed: Any) -> Any:
    wish = {"pattern": "team/*", "scope": "write", "issuer": trusted.url, "audience": AUDIENCE, "claims": CLAIMS}
    return caller.call("POST", PUBLISHERS, json=wish | changed)


def exchange(registry: Registry, assertion: str, **changed: Any) -> Any:
    fields = {"grant_type": GRANT, "subject_token_type": ID_TOKEN, "subject_token": assertion, **changed}
    return registry.anonymous.call("POST", "/oauth/token", json=fields)


def test_trusted_program_gets_a_token_of_a_few_minutes_for_its_repositories(
    registry: Registry, trusted: Issuer
) -> None:
    answer = exchange(registry, trusted.sign(), resource="team/tickets")
    assert (answer.status_code, answer.json()["token_type"], answer.json()["expires_in"]) == (200, "Bearer", 900)
    program = Caller(registry.client, answer.json()["access_token"])
    assert program.commit("team/tickets", {"a.txt": b"1"}).status_code == 200
    assert program.create("team/other").status_code == 403
    assert program.delete("team/tickets").status_code == 403
    token = program.get("/api/whoami-v2").json()["auth"]["accessToken"]
    assert (token["displayName"], token["role"]) == ("publisher 1", "fineGrained")


def test_form_as_the_rfc_says_is_taken_and_a_resource_may_be_left_out(registry: Registry, trusted: Issuer) -> None:
    fields = {"grant_type": GRANT, "subject_token_type": ID_TOKEN, "subject_token": trusted.sign()}
    answer = registry.anonymous.call("POST", "/oauth/token", data=fields)
    assert Caller(registry.client, answer.json()["access_token"]).create("team/other").status_code == 200


def test_exchange_writes_a_row_of_the_audit(registry: Registry, trusted: Issuer) -> None:
    exchange(registry, trusted.sign())
    row = registry.admin.get("/api/petapter/v1/audit").json()[-1]
    assert (row["actor"], row["action"], row["subject"]) == ("publisher 1", "token.create", "ada")


@pytest.mark.parametrize(
    "changed",
    [
        {"repository": "evil/models"},
        {"repository": None},
        {"workflow": "pull-request"},
        {"aud": "https://other.example"},
        {"aud": None},
        {"iss": "https://issuer.example"},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"exp": "soon"},
        {"iat": 1},
        {"nbf": 1 << 39},
        {"jti": None},
        {"jti": 5},
    ],
)
def test_assertion_that_proves_something_else_is_refused(
    registry: Registry, trusted: Issuer, changed: Mapping[str, Any]
) -> None:
    answer = exchange(registry, trusted.sign(**changed))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("resource", ["other/tickets", "ada", "datasets/team/tickets", "team2/x"])
def test_repository_that_the_program_is_not_trusted_with_is_refused(
    registry: Registry, trusted: Issuer, resource: str
) -> None:
    assert exchange(registry, trusted.sign(), resource=resource).json()["error"] == "invalid_grant"


def test_assertion_of_another_key_is_refused(registry: Registry, trusted: Issuer) -> None:
    forged = trusted.sign(key=ECKey.generate_key("P-256", {"kid": "one"}))
    assert exchange(registry, forged).json()["error"] == "invalid_grant"


def test_assertion_cannot_choose_its_algorithm(registry: Registry, trusted: Issuer) -> None:
    public = OctKey.import_key(json.dumps(trusted.key.as_dict(private=False)).encode())
    symmetric = trusted.sign(header={"alg": "HS256", "kid": "one"}, key=public)
    head, body, _ = trusted.sign().split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{body}."
    for assertion in (symmetric, unsigned, f"{head}.{body}.", "x", "a.b.c", ""):
        assert exchange(registry, assertion).status_code == 400


def test_assertion_is_good_for_one_token(registry: Registry, trusted: Issuer) -> None:
    assertion = trusted.sign()
    assert [exchange(registry, assertion).status_code for _ in range(2)] == [200, 400]


def test_one_of_many_that_use_an_assertion_at_once_gets_a_token(registry: Registry, trusted: Issuer) -> None:
    assertion, publishers = trusted.sign(), registry.app.state.services.publishers

    with ThreadPoolExecutor(8) as pool:
        uses = [pool.submit(publishers.exchange, assertion, None) for _ in range(16)]
    failed = [str(use.exception()) for use in uses if use.exception()]
    assert (len(failed), len(set(failed)), "used before" in failed[0]) == (15, 1, True)


def test_use_is_remembered_until_the_assertion_is_refused_anyway(registry: Registry, trusted: Issuer) -> None:
    from petapter_registry_server.db.publisher_tables import UsedAssertion

    ends = int(time.time()) + 60
    exchange(registry, trusted.sign(exp=ends))
    with registry.app.state.services.access._database.read() as session:
        assert session.query(UsedAssertion).one().expires_ms >= (ends + 30) * 1000


def test_token_ends_with_the_rights_of_the_user_who_trusted(registry: Registry, trusted: Issuer, team: Caller) -> None:
    registry.caller("grace")
    team.call("PUT", "/api/petapter/v1/organisations/team/members/grace", json={"role": "admin"})
    program = Caller(registry.client, exchange(registry, trusted.sign()).json()["access_token"])
    team.call("DELETE", "/api/petapter/v1/organisations/team/membership")
    assert program.commit("team/tickets", {"a.txt": b"1"}).status_code == 403
    registry.app.state.services.accounts.disable_user("ada")
    assert exchange(registry, trusted.sign()).json()["error"] == "invalid_grant"


def test_new_key_of_an_issuer_is_found(registry: Registry, trusted: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exchange(registry, trusted.sign()).status_code == 200
    trusted.key = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
    trusted.publish()
    assert exchange(registry, trusted.sign()).status_code == 400  # asked a moment ago
    monkeypatch.setattr("petapter_registry_server.services.issuers._ASKED_AGAIN_S", 0)
    assert exchange(registry, trusted.sign()).status_code == 200


def test_issuer_that_calls_itself_otherwise_is_not_believed(registry: Registry, trusted: Issuer) -> None:
    trusted.answers["/.well-known/openid-configuration"]["issuer"] = "https://issuer.example"
    assert "calls itself otherwise" in exchange(registry, trusted.sign()).json()["error_description"]


def test_issuer_whose_keys_are_inside_the_network_is_not_asked(registry: Registry, trusted: Issuer) -> None:
    trusted.answers["/.well-known/openid-configuration"]["jwks_uri"] = "https://169.254.169.254/latest"
    assert "not on the public internet" in exchange(registry, trusted.sign()).json()["error_description"]


def test_publishers_are_listed_and_removed_by_their_user_alone(
    registry: Registry, trusted: Issuer, team: Caller
) -> None:
    assert [line["claims"] for line in team.get(PUBLISHERS).json()] == [CLAIMS]
    stranger = registry.caller("eve")
    assert stranger.get(PUBLISHERS).json() == []
    assert stranger.call("DELETE", f"{PUBLISHERS}/1").status_code == 400
    assert team.call("DELETE", f"{PUBLISHERS}/1").status_code == 200
    assert exchange(registry, trusted.sign()).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "changed",
    [
        {"claims": {}},
        {"issuer": "http://issuer.example"},
        {"issuer": "https://user@issuer.example"},
        {"issuer": "file:///etc/passwd"},
        {"pattern": "*"},
        {"audience": ""},
        {"scope": "owner"},
    ],
)
def test_publisher_that_would_trust_too_much_is_refused(
    registry: Registry, team: Caller, issuer: Issuer, changed: Mapping[str, Any]
) -> None:
    assert register(team, issuer, **changed).status_code == 400
    assert team.get(PUBLISHERS).json() == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"subject_token_type": "x"}, "invalid_request"),
        ({"subject_token": ["x"]}, "invalid_request"),
    ],
)
def test_request_that_is_no_exchange_is_refused_in_oauths_words(
    registry: Registry, fields: Mapping[str, Any], code: str
) -> None:
    answer = exchange(registry, "x", **fields)
    assert (answer.status_code, answer.json()["error"]) == (400, code)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "fec0::1", "::7f00:1", "::ffff:0:7f00:1",
        "64:ff9b:1::7f00:1", "5f00::1", "3fff::1", "192.0.0.8", "192.88.99.1",
    ],
)  # fmt: skip
def test_address_inside_a_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_name_with_one_address_inside_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (address, 443)) for address in ("8.8.8.8", "127.0.0.1")]
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(OutboundError, match="not on the public internet"):
        Outbound(loopback=False).read_json("https://issuer.example/keys")


def test_loopback_is_refused_unless_a_setting_allows_it(issuer: Issuer) -> None:
    assert Outbound(loopback=True).read_json(f"{issuer.url}/keys")["keys"]
    with pytest.raises(OutboundError, match="must be an https address"):
        Outbound(loopback=False).read_json(f"{issuer.url}/keys")
