"""What the identity provider says is believed where it proves something, and else refused on one clear page."""

import base64
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Backing, Registry, running
from tests.registry_server.identity_provider import CLIENT, Provider, running_provider
from tests.registry_server.signing_in.people import (
    CALLBACK,
    COOKIE,
    LOGIN,
    Person,
    link,
    refuses,
    settings_for,
)


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
