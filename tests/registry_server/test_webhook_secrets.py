"""How the secret of a webhook is changed: two sign for a while, or the former one ends at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Caller, Registry, running
from tests.registry_server.test_webhooks import PUBLIC, WEBHOOKS, make, send
from tests.registry_server.webhook_receiver import Receiver, receiving


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Its webhooks may lead to this machine, and it sends when a test says so."""
    with running(Settings(data=tmp_path / "data", webhook_loopback=True, webhook_interval_s=0)) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def test_two_secrets_sign_while_a_receiver_goes_from_one_to_the_other(
    registry: Registry, team: Caller, receiver: Receiver
) -> None:
    made = make(team, receiver)
    turned = team.call("POST", f"{WEBHOOKS}/1/secret", json={"overlapHours": 1}).json()
    assert turned["secret"] not in {made["secret"], None}
    assert turned["formerSecretUntil"] == team.get(WEBHOOKS).json()[0]["formerSecretUntil"] is not None
    team.call("POST", f"{WEBHOOKS}/1/ping")
    send(registry)
    (message,) = receiver.messages
    assert len(message.headers["webhook-signature"].split()) == 2
    assert message.is_signed_with(made["secret"])
    assert message.is_signed_with(turned["secret"])
    registry.change("UPDATE webhooks SET former_until_ms = 1")
    team.call("POST", f"{WEBHOOKS}/1/ping")
    send(registry)
    assert not receiver.messages[1].is_signed_with(made["secret"])
    assert receiver.messages[1].is_signed_with(turned["secret"])
    assert registry.rows("SELECT former_secret FROM webhooks") == [(None,)]
    assert team.get(WEBHOOKS).json()[0]["formerSecretUntil"] is None


def test_secret_that_got_out_signs_nothing_more_at_once(registry: Registry, team: Caller, receiver: Receiver) -> None:
    made = make(team, receiver)
    known = team.call("POST", f"{WEBHOOKS}/1/secret").json()["secret"]
    last = team.call("POST", f"{WEBHOOKS}/1/secret", json={"overlapHours": 0}).json()["secret"]
    team.call("POST", f"{WEBHOOKS}/1/ping")
    send(registry)
    (message,) = receiver.messages
    assert [message.is_signed_with(each) for each in (made["secret"], known, last)] == [False, False, True]
    told = team.get(WEBHOOKS).text + registry.admin.get("/api/petapter/v1/audit?limit=1000").text
    assert not any(secret in told for secret in (made["secret"], known, last))


@pytest.mark.parametrize("hours", [-1, 169, 1.5, "x"])
def test_overlap_that_is_none_is_refused(registry: Registry, team: Caller, hours: object) -> None:
    make(team, PUBLIC)
    answer = team.call("POST", f"{WEBHOOKS}/1/secret", json={"overlapHours": hours})
    assert (answer.status_code, "overlapHours" in answer.json()["detail"]) == (400, True)
    assert registry.rows("SELECT former_secret FROM webhooks") == [(None,)]
