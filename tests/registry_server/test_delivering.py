"""How events travel: again after a failure, to a bounded number of attempts, past no redirect and into no network."""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.clock import now_ms
from petapter_registry_server.errors import OutboundError
from petapter_registry_server.services import outbound
from petapter_registry_server.services.delivering import DELAYS_S, JITTER, REST_AFTER, Delivering
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import Backing, Caller, Registry, member_of_team, running
from tests.registry_server.page_modules import publish
from tests.registry_server.test_webhooks import WEBHOOKS, deliveries, make
from tests.registry_server.varied_modules import Varied
from tests.registry_server.webhook_receiver import Receiver, receiving


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


@pytest.fixture
def waiting(team: Caller, receiver: Receiver) -> Caller:
    """An admin of `team`, with one event on its way to the receiver."""
    make(team, receiver)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    return team


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.ms = now_ms() + 1000

    def __call__(self) -> int:
        return self.ms

    def wait(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


def sender(registry: Registry, clock: Callable[[], int] = now_ms, *, drawn: float = 0.0) -> Delivering:
    return Delivering(registry.app.state.database, Outbound(loopback=True), clock=clock, draw=lambda: drawn)


def test_attempts_are_bounded_and_their_pauses_grow(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    receiver.status, clock = 500, Clock()
    delivering = sender(registry, clock)
    pauses = []
    while delivering.run():
        (row,) = registry.rows("SELECT due_ms, state FROM webhook_deliveries")
        if row[0] is None:
            break
        pauses.append((row[0] - clock.ms) / 1000)
        clock.ms = row[0] - 1
        assert delivering.run() == 0
        clock.ms = max(row[0], registry.rows("SELECT rest_until_ms FROM webhooks")[0][0])
    assert pauses == list(DELAYS_S)
    assert len(receiver.messages) == len(DELAYS_S) + 1
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    (line,) = deliveries(waiting)
    assert (line["state"], line["status"], line["problem"]) == ("failed", 500, "it answered with status 500")


def test_pauses_are_drawn_anew(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    receiver.status, clock = 503, Clock()
    sender(registry, clock, drawn=1.0).run()
    assert registry.rows("SELECT due_ms FROM webhook_deliveries") == [
        (clock.ms + round(DELAYS_S[0] * 1000 * (1 + JITTER)),)
    ]


def test_delivery_succeeds_after_a_failure_with_a_fresh_signature(
    registry: Registry, team: Caller, receiver: Receiver
) -> None:
    made = make(team, receiver)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    receiver.status, clock = 500, Clock()
    sender(registry, clock).run()
    receiver.status = 200
    clock.wait(60)
    sender(registry, clock).run()
    stamps = [int(message.headers["webhook-timestamp"]) for message in receiver.messages]
    assert stamps[1] - stamps[0] == 60
    assert all(message.is_signed_with(made["secret"]) for message in receiver.messages)
    (line,) = deliveries(team)
    assert (line["state"], line["attempts"], line["problem"]) == ("delivered", 2, None)
    assert team.get(WEBHOOKS).json()[0]["failuresInARow"] == 0


def test_address_that_is_gone_is_not_asked_again(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    receiver.status = 410
    sender(registry).run()
    assert deliveries(waiting)[0]["state"] == "failed"


def test_webhook_that_fails_again_and_again_rests_and_a_ping_ends_that(
    registry: Registry, team: Caller, receiver: Receiver
) -> None:
    make(team, receiver)
    for number in range(REST_AFTER + 2):
        publish(team, "team/tickets", f"1.{number}.0", Varied(version=f"1.{number}.0", fill=number / 10).files())
    receiver.status, clock = 500, Clock()
    delivering = sender(registry, clock)
    assert delivering.run() == REST_AFTER
    assert team.get(WEBHOOKS).json()[0]["restsUntil"] is not None
    clock.wait(59)
    assert delivering.run() == 0
    clock.wait(1)
    receiver.status = 204
    assert delivering.run() == REST_AFTER + 2
    receiver.status = 500
    for number in range(REST_AFTER):
        publish(team, "team/tickets", f"2.{number}.0", Varied(version=f"2.{number}.0", fill=1 + number / 10).files())
    delivering.run()
    team.call("POST", f"{WEBHOOKS}/1/ping")
    receiver.status = 204
    assert sender(registry, clock).run() == 1
    assert receiver.kinds[-1] == "ping"


def test_redirect_is_not_followed(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    with receiving() as canary:
        receiver.status, receiver.headers = 307, {"Location": canary.url}
        sender(registry).run()
        assert canary.messages == []
    assert "redirects are not followed" in deliveries(waiting)[0]["problem"]


@pytest.mark.parametrize("dripped", [b"x", b"HTTP/1.1 200 OK\r\nX-A: "])
def test_answer_that_comes_letter_by_letter_is_broken_off(
    registry: Registry, waiting: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, dripped: bytes
) -> None:
    """Each read is quick, so no limit of single reads ends this."""
    monkeypatch.setattr(outbound, "_DEADLINE_S", 0.3)
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(dripped)
            while not ended.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            ended.set()

    receiver.before_answer = drip
    assert sender(registry).run() == 1
    assert ended.wait(30)
    assert "127.0.0.1 did not answer" in deliveries(waiting)[0]["problem"]


def test_long_answer_is_not_read(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    receiver.headers = {"Content-Length": str(1 << 40)}
    sender(registry).run()
    assert deliveries(waiting)[0]["state"] == "delivered"


def test_receiver_that_is_away_is_named(registry: Registry, team: Caller) -> None:
    with receiving() as gone:
        make(team, gone)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    sender(registry).run()
    assert deliveries(team)[0]["problem"] == "127.0.0.1 did not answer: ConnectError"


def test_address_that_cannot_be_asked_fails_alone(
    registry: Registry, team: Caller, waiting: Caller, receiver: Receiver
) -> None:
    """One that was taken before it was refused."""
    make(team, receiver)
    registry.change("UPDATE webhooks SET url = 'http://127.0.0.1:1/\x7f' WHERE id = 1")
    team.call("POST", f"{WEBHOOKS}/2/ping")
    assert sender(registry).run() == 2
    assert receiver.kinds == ["ping"]
    assert "it has characters that addresses do not have" in deliveries(waiting)[0]["problem"]


Resolver = Callable[..., list[Any]]


def answering(addresses: list[str], asked: list[str]) -> Resolver:
    """A resolver that gives a name another address each time, and at last always the same; numbers are themselves."""

    def resolve(host: str, port: int, *_: object, **__: object) -> list[Any]:
        is_number = host[0].isdigit()
        asked.extend([] if is_number else [host])
        address = host if is_number else addresses[min(len(asked), len(addresses)) - 1]
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 0, "", (address, port))]

    return resolve


def test_name_that_leads_elsewhere_after_it_was_judged_is_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name led to when the webhook was made says nothing about where it leads when something is sent."""
    asked: list[str] = []
    with receiving() as canary, running(Settings(data=tmp_path / "data", webhook_interval_s=0)) as registry:
        team = member_of_team(registry)
        port = canary.url.rpartition(":")[2]
        monkeypatch.setattr(outbound.socket, "getaddrinfo", answering(["8.8.8.8", "127.0.0.1"], asked))
        make(team, f"https://rebound.example:{port}")
        publish(team, "team/tickets", "1.0.0", Varied().files())
        registry.app.state.services.delivering.run()
        assert asked == ["rebound.example"] * 2
        assert canary.messages == []
        assert "rebound.example is not on the public internet and is not asked" in deliveries(team)[0]["problem"]


def test_name_is_resolved_once_and_the_judged_address_is_the_one_that_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    with receiving("127.0.0.1") as judged:
        port = int(judged.url.rpartition(":")[2].partition("/")[0])
        with receiving("127.0.0.2", port) as canary:
            monkeypatch.setattr(outbound.socket, "getaddrinfo", answering(["127.0.0.1", "127.0.0.2"], asked))
            url = f"http://localhost:{port}/hook"
            assert Outbound(loopback=True).send(url, headers={}, body=b"{}") == 204
            assert (len(judged.messages), len(canary.messages), asked) == (1, 0, ["localhost"])
            assert judged.messages[0].headers["host"] == f"localhost:{port}"


def test_receiver_that_is_no_https_server_gets_nothing_in_the_clear() -> None:
    with receiving() as plain, pytest.raises(OutboundError, match="did not answer"):
        Outbound(loopback=True).send(plain.url.replace("http:", "https:"), headers={}, body=b"{}")
    assert plain.messages == []


def test_servers_over_one_database_send_each_message_once(any_registry: Registry, receiver: Receiver) -> None:
    team = member_of_team(any_registry)
    make(team, receiver)
    for number in range(3):
        make(team, f"{receiver.url}-{number}")
    for number in range(5):
        publish(team, "team/tickets", f"1.{number}.0", Varied(version=f"1.{number}.0", fill=number / 10).files())
    with ThreadPoolExecutor(3) as pool:
        attempts = list(pool.map(lambda _: sender(any_registry).run(), range(3)))
    ids = [message.headers["webhook-id"] for message in receiver.messages]
    assert (sum(attempts), len(ids), len(set(ids))) == (20, 20, 20)


def test_messages_to_one_webhook_come_in_their_order(registry: Registry, team: Caller, receiver: Receiver) -> None:
    make(team, receiver)
    for number in range(5):
        publish(team, "team/tickets", f"1.{number}.0", Varied(version=f"1.{number}.0", fill=number / 10).files())
    sender(registry).run()
    assert [event["data"]["version"] for event in receiver.events] == [f"1.{number}.0" for number in range(5)]


def test_what_a_server_took_and_did_not_send_is_sent_by_another_later(
    any_registry: Registry, receiver: Receiver
) -> None:
    team = member_of_team(any_registry)
    make(team, receiver)
    publish(team, "team/tickets", "1.0.0", Varied().files())
    clock = Clock()
    assert sender(any_registry, clock)._take() is not None  # and it dies
    assert sender(any_registry, clock).run() == 0
    clock.wait(120)
    assert sender(any_registry, clock).run() == 1
    assert len(receiver.messages) == 1


def test_push_waits_for_no_receiver(registry: Registry, waiting: Caller, receiver: Receiver) -> None:
    let_go = threading.Event()

    def hold(_: BaseHTTPRequestHandler) -> None:
        let_go.wait(60)

    receiver.before_answer = hold
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(sender(registry).run)
        assert receiver.came.wait(60)
        publish(waiting, "team/tickets", "1.1.0", Varied(version="1.1.0", fill=0.1).files())
        assert not sending.done()
        let_go.set()
        assert sending.result() == 2


def test_running_server_sends_by_itself(tmp_path: Path, receiver: Receiver) -> None:
    settings = Settings(data=tmp_path / "data", webhook_loopback=True, webhook_interval_s=0.05)
    with running(settings) as registry:
        team = member_of_team(registry)
        make(team, receiver)
        publish(team, "team/tickets", "1.0.0", Varied().files())
        assert receiver.came.wait(60)


def test_old_deliveries_are_forgotten(
    registry: Registry, team: Caller, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_registry_server.services.delivering._KEPT", 2)
    make(team, receiver)
    for _ in range(4):
        team.call("POST", f"{WEBHOOKS}/1/ping")
        sender(registry).run()
    assert [line["id"] for line in deliveries(team)] == [4, 3]
    assert [line["id"] for line in team.get(f"{WEBHOOKS}/1/deliveries?before=4&limit=1").json()] == [3]
