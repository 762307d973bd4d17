"""Who becomes a user by signing in, and that nobody takes an account over by a name."""

import pytest

from petapter_registry_server.services.audit_log import AuditLog
from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Registry
from tests.registry_server.identity_provider import Provider
from tests.registry_server.signing_in.people import (
    Person,
    refuses,
    rows,
    welcoming,
)


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
