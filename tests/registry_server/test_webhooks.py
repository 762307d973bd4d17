"""Webhooks: who makes them, what they are told, and to whom what is private is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from petapter_registry_server.db.tables import Repository
from petapter_registry_server.services import events
from petapter_registry_server.services.accounts import TokenLimits
from petapter_registry_server.services.callers import CONSOLE
from petapter_registry_server.services.events import KINDS, Evaluated, Event, announce, announce_evaluation
from petapter_registry_server.settings import Settings
from petapter_schemas.module_facts import MetricFacts
from tests.registry_server.conftest import Backing, Caller, Registry, member_of_team, running
from tests.registry_server.measured_modules import NewSet, published
from tests.registry_server.page_modules import publish
from tests.registry_server.test_handed_in import Result, hand_in
from tests.registry_server.varied_modules import Varied
from tests.registry_server.webhook_receiver import Receiver, receiving

WEBHOOKS = "/api/petapter/v1/webhooks"
NATIVE = "/api/petapter/v1/modules/team/tickets"
PUBLIC = "https://8.8.8.8/hook"
FIGURE = MetricFacts(
    metric="macro_f1", value=0.7, low=0.6, high=0.8, level=0.95, evaluation_set="germeval18", split="test",
    sha256="a" * 64, n=500, status="verified",
)  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Its webhooks may lead to this machine, and it sends when a test says so."""
    with running(Settings(data=tmp_path / "data", webhook_loopback=True, webhook_interval_s=0)) as opened:
        yield opened


@pytest.fixture
def any_registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    """The same over each kind of database."""
    with running(backing.settings(tmp_path / "data", webhook_loopback=True, webhook_interval_s=0)) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def make(caller: Caller, receiver: Receiver | str, place: str = "team/*", **changed: Any) -> dict[str, Any]:
    url = receiver if isinstance(receiver, str) else receiver.url
    answer = caller.call("POST", WEBHOOKS, json={"for": place, "url": url, **changed})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def send(registry: Registry) -> int:
    attempts: int = registry.app.state.services.delivering.run()
    return attempts


def deliveries(caller: Caller, webhook: int = 1) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get(f"{WEBHOOKS}/{webhook}/deliveries").json()
    return found


def test_publication_is_told_and_signed(any_registry: Registry, receiver: Receiver) -> None:
    team = member_of_team(any_registry)
    made = make(team, receiver)
    digest = publish(team, "team/tickets", "1.0.0", Varied().files())
    assert send(any_registry) == 1
    (message,) = receiver.messages
    assert message.is_signed_with(made["secret"])
    assert not message.is_signed_with(make(team, receiver)["secret"])
    assert message.headers["content-type"] == "application/json"
    assert message.event["type"] == "publish"
    assert message.event["data"] == {
        "module": "team/tickets", "private": False, "version": "1.0.0", "commit": team.head("team/tickets"),
        "by": "ada", "digest": digest,
    }  # fmt: skip
    (line,) = deliveries(team)
    assert (line["state"], line["status"], line["attempts"]) == ("delivered", 204, 1)
    assert line["messageId"] == message.headers["webhook-id"]


def test_yank_and_its_undoing_are_told_with_the_reason(registry: Registry, team: Caller, receiver: Receiver) -> None:
    publish(team, "team/tickets", "1.0.0", Varied().files())
    make(team, receiver)
    team.call("PUT", f"{NATIVE}/versions/1.0.0/yank", json={"reason": "labels were swapped"})
    team.call("DELETE", f"{NATIVE}/versions/1.0.0/yank")
    team.call("DELETE", f"{NATIVE}/versions/1.0.0/yank")  # it is shown already
    assert send(registry) == 2
    assert receiver.kinds == ["yank", "unyank"]
    assert receiver.events[0]["data"]["reason"] == "labels were swapped"


def tell_evaluation(registry: Registry) -> int:
    NewSet().put(registry)
    with registry.app.state.database.write() as session:
        repository = session.scalars(select(Repository).where(Repository.lookup == "team/tickets")).one()
        return announce_evaluation(session, repository, FIGURE, Evaluated("worker", "1.0.0", "c" * 40, 1))


def test_evaluation_is_told_with_its_figure_and_no_rows(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver, "team/tickets", events=["evaluation"])
    publish(team, "team/tickets", "1.0.0", Varied().files())
    assert tell_evaluation(registry) == 1
    send(registry)
    (event,) = receiver.events
    assert event["type"] == "evaluation"
    assert event["data"] == {
        "module": "team/tickets", "private": False, "version": "1.0.0", "commit": "c" * 40, "by": "worker",
        **FIGURE.model_dump(),
    }  # fmt: skip


def test_result_that_is_handed_in_is_told_figure_by_figure(registry: Registry, receiver: Receiver) -> None:
    ada = member_of_team(registry)
    published(ada)
    NewSet().put(registry)
    make(ada, receiver, events=["evaluation"])
    assert hand_in(ada, Result((("accuracy", 0.9), ("macro_f1", 0.7))).signed()).status_code == 201
    assert send(registry) == 2
    told = [event["data"] for event in receiver.events]
    assert sorted((each["metric"], each["status"], each["by"]) for each in told) == [
        ("accuracy", "reproduced", "ada"), ("macro_f1", "disputed", "ada"),
    ]  # fmt: skip


def test_figures_on_a_private_set_are_told_to_those_who_see_the_set(
    registry: Registry, team: Caller, grace: Caller, receiver: Receiver
) -> None:
    """Both are admins of the module; the set is of the one alone."""
    published(team)
    team.create("ada/mine")
    NewSet("ada/rows", private=True).put(registry)
    for caller, tail in ((team, "-of-ada"), (grace, "-of-grace")):
        make(caller, f"{receiver.url}{tail}", events=["evaluation"])
    assert hand_in(team, Result().signed()).status_code == 201
    assert send(registry) == 2
    assert {message.path for message in receiver.messages} == {"/hook-of-ada"}
    shown = team.call("PUT", "/api/petapter/v1/evalsets/ada/rows/settings", json={"private": False})
    assert shown.status_code == 200
    hand_in(team, Result().signed())
    team.call("PUT", "/api/petapter/v1/evalsets/ada/rows/settings", json={"private": True})  # before it is sent
    assert send(registry) == 2
    assert {message.path for message in receiver.messages} == {"/hook-of-ada"}
    assert {line["state"] for line in deliveries(grace, 2)} == {"withheld"}


def test_event_of_a_change_that_failed_is_not_told(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver)

    def fails() -> None:
        with registry.app.state.database.write() as session:
            repository = session.scalars(select(Repository).where(Repository.lookup == "team/tickets")).one()
            assert announce(session, repository, Event("publish", "ada", "1.0.0", "c" * 40)) == 1
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fails()
    assert send(registry) == 0
    refused = team.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1.0.0"})
    assert (refused.status_code, deliveries(team)) == (200, [])  # an ordinary tag: there is no module


def test_webhook_of_a_module_hears_of_that_module_alone(registry: Registry, team: Caller, receiver: Receiver) -> None:
    team.create("team/other")
    make(team, receiver, "team/other")
    publish(team, "team/tickets", "1.0.0", Varied().files())
    assert send(registry) == 0
    publish(team, "team/other", "1.0.0", Varied().files())
    assert send(registry) == 1


@pytest.fixture
def grace(registry: Registry, team: Caller) -> Caller:
    """Another admin of `team`."""
    caller = registry.caller("grace")
    registry.app.state.services.organisations.set_member(CONSOLE, "team", "grace", "admin")
    return caller


def test_private_module_is_told_to_nobody_who_may_not_read_it(
    registry: Registry, team: Caller, grace: Caller, receiver: Receiver
) -> None:
    team.create("team/secret", private=True)
    make(grace, receiver)
    publish(team, "team/secret", "1.0.0", Varied().files())
    send(registry)
    assert [event["data"]["private"] for event in receiver.events] == [True]
    publish(team, "team/secret", "1.1.0", Varied(version="1.1.0", fill=0.1).files())  # it waits …
    registry.app.state.services.organisations.remove_member(CONSOLE, "team", "grace")  # … until this
    publish(team, "team/secret", "1.2.0", Varied(version="1.2.0", fill=0.2).files())
    publish(team, "team/tickets", "1.0.0", Varied().files())
    send(registry)
    assert [(event["data"]["module"], event["data"]["version"]) for event in receiver.events[1:]] == [
        ("team/tickets", "1.0.0")
    ]
    withheld = [line for line in deliveries(team) if line["state"] == "withheld"]
    assert [line["problem"] for line in withheld] == [
        "who made this webhook may not read the module, or see the evaluation set, any more"
    ]
    registry.app.state.services.accounts.disable_user("grace")
    publish(team, "team/tickets", "1.1.0", Varied(version="1.1.0", fill=0.1).files())
    assert send(registry) == 0


def test_module_that_was_hidden_or_deleted_meanwhile_is_not_told(
    registry: Registry, team: Caller, grace: Caller, receiver: Receiver
) -> None:
    make(grace, receiver)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    team.delete("team/tickets")
    send(registry)
    assert receiver.messages == []


def test_webhook_of_a_module_ends_with_it_and_with_its_owner(registry: Registry, team: Caller) -> None:
    team.create("team/other")
    for name in ("team/tickets", "team/other"):
        make(team, PUBLIC, name)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    team.create("elsewhere/first")
    team.call("POST", "/api/repos/move", json={"fromRepo": "team/tickets", "toRepo": "elsewhere/tickets"})
    assert [line["for"] for line in team.get(WEBHOOKS).json()] == ["team/other"]
    team.delete("team/other")
    assert team.get(WEBHOOKS).json() == []
    assert send(registry) == 0


def test_webhook_of_a_module_follows_its_new_name(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver, "team/tickets")
    team.call("POST", "/api/repos/move", json={"fromRepo": "team/tickets", "toRepo": "team/letters"})
    publish(team, "team/letters", "1.0.0", Varied().files())
    send(registry)
    assert receiver.events[0]["data"]["module"] == "team/letters"
    assert [line["for"] for line in team.get(WEBHOOKS).json()] == ["team/letters"]


def test_secret_and_address_are_in_no_list_audit_or_log(registry: Registry, team: Caller, receiver: Receiver) -> None:
    url = f"{receiver.url}/a-path-that-is-a-secret"
    with capture_logs() as logged:
        made = make(team, url)
        receiver.status = 500
        publish(team, "team/tickets", "1.0.0", Varied(description="what nobody else reads").files())
        send(registry)
    assert len(receiver.messages) == 1
    said = repr(logged)
    assert "'webhook': 1" in said
    audit = registry.admin.get("/api/petapter/v1/audit?limit=1000").text
    for text in (said, audit):
        assert made["secret"] not in text
        assert "a-path-that-is-a-secret" not in text
        assert "what nobody else reads" not in text
    assert made["secret"] not in team.get(WEBHOOKS).text + repr(deliveries(team))
    assert "secret" not in team.get(WEBHOOKS).json()[0]
    assert b"what nobody else reads" not in receiver.messages[0].body


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"url": "http://hooks.example/x"}, 400, "must be an https address"),
        ({"url": "ftp://hooks.example/x"}, 400, "must be an https address"),
        ({"url": "https://user:word@8.8.8.8/x"}, 400, "must be an https address without a user"),
        ({"url": "https:///x"}, 400, "must be an https address"),
        ({"url": "https://127.0.0.1/x"}, 400, "127.0.0.1 is not on the public internet and is not asked"),
        ({"url": "https://10.1.2.3/x"}, 400, "not on the public internet"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, 400, "not on the public internet"),
        ({"url": "https://100.64.0.1/x"}, 400, "not on the public internet"),
        ({"url": "https://0.0.0.0/x"}, 400, "not on the public internet"),
        ({"url": "https://2130706433/x"}, 400, "not on the public internet"),  # 127.0.0.1 in one number
        ({"url": "https://0x7f.1/x"}, 400, "not on the public internet"),
        ({"url": "https://[::1]/x"}, 400, "not on the public internet"),
        ({"url": "https://[::ffff:8.8.8.8]/x"}, 400, "not on the public internet"),
        ({"url": "https://[fe80::1]/x"}, 400, "not on the public internet"),
        ({"url": "https://[64:ff9b::7f00:1]/x"}, 400, "not on the public internet"),
        ({"url": "https://localhost/x"}, 400, "not on the public internet"),
        ({"url": "https://no-such-name.invalid/x"}, 400, "the address of no-such-name.invalid cannot be found"),
        ({"url": "https://[fec0::1]/x"}, 400, "not on the public internet"),  # site-local, which Python calls global
        ({"url": "https://[::127.0.0.1]/x"}, 400, "not on the public internet"),
        ({"url": "https://[64:ff9b:1::7f00:1]/x"}, 400, "not on the public internet"),
        ({"url": "https://hooks..example/x"}, 400, "the address of hooks..example cannot be found"),
        ({"url": f"https://{'a' * 64}.example/x"}, 400, "cannot be found"),
        ({"url": "https://8.8.8.8/a\x7fb"}, 400, "is no address: it has characters that addresses do not have"),
        ({"url": "https://8.8.8.8/a b"}, 400, "is no address: it has characters"),
        ({"url": "https://8.8.8.8/a\nb"}, 400, "is no address: it has characters"),
        ({"url": "https://b\u00fccher.example/x"}, 400, "is no address: it has characters"),
        ({"url": "https://[/x"}, 400, "is no address: Invalid IPv6 URL"),
        ({"url": "https://8.8.8.8:99999/x"}, 400, "is no address: Port out of range"),
        ({"url": PUBLIC + "x" * 500}, 400, "url"),
        ({"events": []}, 400, "name the events to hear of: publish, yank, unyank, evaluation"),
        ({"events": ["push"]}, 400, "events"),
        ({"events": ["ping"]}, 400, "events"),
        ({"for": "team"}, 400, "'team' is no pattern of repositories"),
        ({"for": "*"}, 400, "no pattern"),
        ({"for": "team/nothing"}, 404, "Repository not found"),
        ({"for": "nobody/*"}, 404, "there is no user or organisation 'nobody'"),
    ],
)
def test_bad_webhook_is_refused_with_its_cause(strict: Caller, changed: dict[str, Any], status: int, said: str) -> None:
    answer = strict.call("POST", WEBHOOKS, json={"for": "team/*", "url": PUBLIC, **changed})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert strict.get(WEBHOOKS).json() == []


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """An admin of `team` in a registry whose webhooks may not lead to this machine."""
    with running(Settings(data=tmp_path_factory.mktemp("strict") / "data", webhook_interval_s=0)) as opened:
        ada = opened.caller("ada")
        assert ada.create("team/tickets").status_code == 200
        yield ada


def test_webhooks_are_for_admins_of_their_place(registry: Registry, team: Caller, grace: Caller) -> None:
    make(team, PUBLIC)
    registry.app.state.services.organisations.set_member(CONSOLE, "team", "grace", "maintain")
    eve = registry.caller("eve")
    issue = registry.app.state.services.accounts.issue_token
    elsewhere = Caller(registry.client, issue("ada", "write", TokenLimits(scope="admin", pattern="other/*")).secret)
    for caller, status in ((grace, 403), (eve, 404), (elsewhere, 403)):
        assert caller.call("POST", WEBHOOKS, json={"for": "team/*", "url": PUBLIC}).status_code == status
        assert caller.get(WEBHOOKS).json() == []
        assert caller.get(f"{WEBHOOKS}/1/deliveries").status_code == 404
        assert caller.call("POST", f"{WEBHOOKS}/1/ping").status_code == 404
        assert caller.call("POST", f"{WEBHOOKS}/1/secret").status_code == 404
        assert caller.call("DELETE", f"{WEBHOOKS}/1").status_code == 404
    assert grace.call("POST", WEBHOOKS, json={"for": "team/tickets", "url": PUBLIC}).status_code == 403
    within = Caller(registry.client, issue("ada", "write", TokenLimits(scope="admin", pattern="team/*")).secret)
    assert [line["for"] for line in within.get(WEBHOOKS).json()] == ["team/*"]
    writer = Caller(registry.client, issue("ada", "write", TokenLimits(scope="write")).secret)
    assert writer.get(WEBHOOKS).status_code == 403
    assert registry.admin.call("DELETE", f"{WEBHOOKS}/1").status_code == 200
    assert team.get(WEBHOOKS).json() == []


def test_users_have_webhooks_of_their_own_namespace(registry: Registry, team: Caller, receiver: Receiver) -> None:
    team.create("ada/mine")
    make(team, receiver, "ada/*")
    publish(team, "ada/mine", "1.0.0", Varied().files())
    assert send(registry) == 1


def test_ping_shows_whether_messages_arrive(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver)
    assert team.call("POST", f"{WEBHOOKS}/1/ping").status_code == 200
    again = team.call("POST", f"{WEBHOOKS}/1/ping")
    assert (again.status_code, "a ping is on its way already" in again.json()["detail"]) == (400, True)
    send(registry)
    assert receiver.events[0]["data"] == {"webhook": 1, "by": "ada"}
    assert team.call("POST", f"{WEBHOOKS}/1/ping").status_code == 200


def test_removed_webhook_hears_nothing_more(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    assert team.call("DELETE", f"{WEBHOOKS}/1").status_code == 200
    assert (send(registry), receiver.messages) == (0, [])
    assert team.call("DELETE", f"{WEBHOOKS}/1").status_code == 404


def test_place_has_no_more_than_twenty(registry: Registry, team: Caller) -> None:
    for _ in range(20):
        make(team, PUBLIC)
    answer = team.call("POST", WEBHOOKS, json={"for": "team/*", "url": PUBLIC})
    assert (answer.status_code, "team/* has 20 webhooks already" in answer.json()["detail"]) == (400, True)
    make(team, PUBLIC, "team/tickets")


def test_what_waits_for_a_webhook_is_bounded(
    registry: Registry, team: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WAITING", 2)
    make(team, receiver)
    for number in range(3):
        publish(team, "team/tickets", f"1.{number}.0", Varied(version=f"1.{number}.0", fill=number / 10).files())
    assert [(line["state"], line["problem"]) for line in deliveries(team)] == [
        ("failed", "2 others waited already"), ("waiting", None), ("waiting", None),
    ]  # fmt: skip
    assert send(registry) == 2


def test_every_kind_of_event_is_known_to_the_form() -> None:
    from petapter_registry_server.web.pages.webhooks import NewWebhookForm

    assert set(NewWebhookForm.model_fields) == {"place", "url", *KINDS}
