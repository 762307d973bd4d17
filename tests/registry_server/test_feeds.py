"""Feeds: Atom as RFC 4287 says, of what their reader may see, and not sent again to who has them."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from petapter_registry_server.api.atom import atom
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.feeds import Feed, FeedEntry
from petapter_registry_server.settings import Settings
from tests.registry_server.browser_caller import Browser
from tests.registry_server.conftest import Backing, Caller, Registry, member_of_team, running
from tests.registry_server.page_modules import publish
from tests.registry_server.varied_modules import Varied

FEEDS = "/api/petapter/v1/feeds"
ATOM = "{http://www.w3.org/2005/Atom}"


def feed_of(caller: Caller, place: str, **headers: str) -> Any:
    return caller.get(f"{FEEDS}/{place}", headers=headers)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with running(Settings(data=tmp_path / "data")) as opened:
        yield opened


def document(answer: Any) -> Element:
    root: Element = fromstring(answer.content)  # noqa: S314 (ours)
    return root


def titles(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry.findtext(f"{ATOM}title") or "" for entry in document(answer).iter(f"{ATOM}entry")]


def check_atom(root: Element) -> None:
    """What RFC 4287 demands of every document (sections 4.1.1, 4.1.2, 3.2, 3.3 and 4.2.7)."""
    assert root.tag == f"{ATOM}feed"
    for element in (root, *root.iter(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            assert len(element.findall(f"{ATOM}{name}")) == 1, name
        identity = element.findtext(f"{ATOM}id") or ""
        assert uuid.UUID(identity.removeprefix("urn:uuid:")).version == 5
        assert [len(person.findall(f"{ATOM}name")) for person in element.findall(f"{ATOM}author")] == [1]
        for date in [*element.findall(f"{ATOM}updated"), *element.findall(f"{ATOM}published")]:
            assert datetime.fromisoformat(date.text or "").tzinfo is not None
        links = [(link.get("rel"), link.get("type")) for link in element.findall(f"{ATOM}link")]
        assert len(links) == len(set(links))
        for link in element.findall(f"{ATOM}link"):
            assert re.match(r"https?://[^\s<>\"]+$", link.get("href") or "")
    identities = [each.text for each in root.iter(f"{ATOM}id")]
    assert len(identities) == len(set(identities))
    assert all(child.tag.startswith(ATOM) for child in root.iter())
    assert [link.get("rel") for link in root.findall(f"{ATOM}link")] == ["self", "alternate"]


def test_feed_of_a_namespace_tells_what_was_published_and_yanked(registry: Registry, team: Caller) -> None:
    team.create("team/other")
    publish(team, "team/tickets", "1.0.0", Varied().files())
    publish(team, "team/other", "2.0.0", Varied(version="2.0.0").files())
    team.call("PUT", "/api/petapter/v1/modules/team/tickets/versions/1.0.0/yank", json={"reason": "swapped <labels>"})
    answer = feed_of(registry.anonymous, "team")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    assert answer.headers["x-petapter-api"] == "1"
    root = document(answer)
    check_atom(root)
    assert titles(answer) == [
        "team/tickets 1.0.0 was yanked", "team/other 2.0.0 was published", "team/tickets 1.0.0 was published",
    ]  # fmt: skip
    yank = next(root.iter(f"{ATOM}entry"))
    assert yank.findtext(f"{ATOM}summary") == "swapped <labels>"
    link = yank.find(f"{ATOM}link")
    assert link is not None
    assert link.get("href") == "http://registry.test/team/tickets?revision=v1.0.0"
    assert root.findtext(f"{ATOM}updated") == yank.findtext(f"{ATOM}updated")
    assert titles(feed_of(registry.anonymous, "team/other")) == ["team/other 2.0.0 was published"]


def test_entries_keep_their_ids_when_the_module_is_renamed(registry: Registry, team: Caller) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    before = [each.text for each in document(feed_of(team, "team")).iter(f"{ATOM}id")]
    team.call("POST", "/api/repos/move", json={"fromRepo": "team/tickets", "toRepo": "team/letters"})
    assert titles(feed_of(team, "team")) == ["team/letters 1.0.0 was published"]
    assert [each.text for each in document(feed_of(team, "team")).iter(f"{ATOM}id")] == before


def test_reader_who_has_the_feed_is_not_sent_it_again(registry: Registry, team: Caller) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    tag = feed_of(registry.anonymous, "team").headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = feed_of(registry.anonymous, "team", **{"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert feed_of(registry.anonymous, "team", **{"if-none-match": '"x"'}).status_code == 200
    publish(team, "team/tickets", "1.1.0", Varied(version="1.1.0", fill=0.1).files())
    answer = feed_of(registry.anonymous, "team", **{"if-none-match": tag})
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)
    assert answer.headers["vary"] == "Authorization"


def test_private_modules_are_in_the_feed_of_who_may_read_them_alone(registry: Registry, team: Caller) -> None:
    team.create("team/secret", private=True)
    publish(team, "team/secret", "1.0.0", Varied().files())
    publish(team, "team/tickets", "1.0.0", Varied(fill=0.1).files())
    stranger = registry.caller("eve")
    issue = registry.app.state.services.accounts.issue_token
    elsewhere = Caller(registry.client, issue("ada", "write", TokenLimits(scope="read", pattern="other/*")).secret)
    expired = Caller(registry.client, issue("ada", "write", TokenLimits(expires_ms=1)).secret)
    for caller in (registry.anonymous, stranger, elsewhere):
        assert titles(feed_of(caller, "team")) == ["team/tickets 1.0.0 was published"]
        assert feed_of(caller, "team/secret").status_code == (401 if caller.token is None else 404)
    assert set(titles(feed_of(team, "team"))) == {"team/secret 1.0.0 was published", "team/tickets 1.0.0 was published"}
    assert titles(feed_of(team, "team/secret")) == ["team/secret 1.0.0 was published"]
    assert feed_of(expired, "team").status_code == 401


def test_deleted_modules_and_unknown_names_are_in_no_feed(registry: Registry, team: Caller) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    team.delete("team/tickets")
    assert titles(feed_of(team, "team")) == []
    check_atom(document(feed_of(team, "team")))
    for name in ("nobody", "t3am", "te%00am", "%E2%80%AEteam", "team/nothing", "team/%2E%2E"):
        answer = feed_of(team, name)
        assert answer.status_code == 404, name
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


def test_feed_has_the_newest_of_many(tmp_path: Path, backing: Backing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petapter_registry_server.services.feeds._MOST", 2)
    with running(backing.settings(tmp_path / "data")) as registry:
        team = member_of_team(registry)
        for number in range(3):
            publish(team, "team/tickets", f"1.{number}.0", Varied(version=f"1.{number}.0", fill=number / 10).files())
        team.call("PUT", "/api/petapter/v1/modules/team/tickets/versions/1.0.0/yank", json={"reason": "old"})
        assert titles(feed_of(team, "team")) == ["team/tickets 1.0.0 was yanked", "team/tickets 1.2.0 was published"]


def test_registry_that_shows_strangers_nothing_has_no_feed_for_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(data=tmp_path_factory.mktemp("closed") / "data", anonymous_read=False)
    with running(settings) as closed:
        ada = closed.caller("ada")
        ada.create("team/tickets")
        publish(ada, "team/tickets", "1.0.0", Varied().files())
        assert feed_of(closed.anonymous, "team").status_code == 404
        assert feed_of(closed.anonymous, "team/tickets").status_code == 401
        assert titles(feed_of(closed.caller("eve"), "team")) == ["team/tickets 1.0.0 was published"]


ENTRY = FeedEntry(
    uuid.uuid5(uuid.NAMESPACE_URL, "x").urn, "team/a", "1.0.0+b", is_yank=True, at_ms=0, by="ada", reason=""
)


@pytest.mark.parametrize("reason", ["a < b & c", "]]>", "\x00\x0b\ufffe\ud800", "\u202eevil", "ä 🙂", "<script>"])
def test_hostile_texts_are_texts(reason: str) -> None:
    feed = Feed(uuid.uuid5(uuid.NAMESPACE_URL, "y").urn, "team", 0, [replace(ENTRY, reason=reason, by=reason or "x")])
    written = atom(feed, here="http://r.test/f?a=1&b=2", registry="http://r.test")
    root = fromstring(written)  # noqa: S314 (ours)
    check_atom(root)
    assert b"<script" not in written
    (entry,) = root.iter(f"{ATOM}entry")
    found = entry.findtext(f"{ATOM}summary") or ""
    assert len(found) == len(reason)
    assert all(one in {other, "\ufffd"} for one, other in zip(found, reason, strict=True))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running(Settings(data=tmp_path_factory.mktemp("linked") / "data")) as registry:
        ada = registry.caller("ada")
        for name in ("team/tickets", "team/secret"):
            ada.create(name, private=name.endswith("secret"))
            publish(ada, name, "1.0.0", Varied(fill=len(name) / 10).files())
        yield registry


@pytest.mark.parametrize("place", ["team", "team/tickets"])
def test_pages_lead_to_their_feeds(filled: Registry, place: str) -> None:
    page = Browser.of(filled, None).get(f"/{place}").text
    (address,) = re.findall(r'<link rel="alternate" type="application/atom\+xml" [^>]*href="([^"]+)"', page)
    assert titles(filled.anonymous.get(address)) == ["team/tickets 1.0.0 was published"]


def test_page_of_a_private_module_leads_to_no_feed_that_a_browser_cannot_read(filled: Registry) -> None:
    page = Browser.of(filled, filled.caller("ada").token).get("/team/secret").text
    assert "application/atom+xml" not in page
    assert "Atom feed" not in page
