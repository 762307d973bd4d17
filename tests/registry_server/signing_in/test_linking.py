"""Identities are linked by their user, who sees which, and are taken away again."""

import re

import pytest

from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.web.visitors import PROOF
from tests.registry_server.browser_caller import text_of
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.identity_provider import Provider
from tests.registry_server.signing_in.people import (
    CALLBACK,
    LINK,
    Person,
    link,
    refuses,
    rows,
)


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
