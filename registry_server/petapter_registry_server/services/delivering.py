"""Sends what waits for webhooks: beside the requests, each message at least once, to a bounded number of attempts.

A delivery is taken in one short write, at which all servers over a database take turns, and is the taker's for two
minutes: one that dies meanwhile leaves it to the next. Nothing is held while the other side is asked.
"""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import webhooks
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.db.webhook_tables import DELIVERED, FAILED, WITHHELD, Delivery, Webhook
from petapter_registry_server.errors import OutboundError
from petapter_registry_server.services.events import may_hear
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.signing_events import signed_headers

DELAYS_S = (5, 60, 300, 1800, 7200, 18000, 36000)
"""Between the attempts, which are one more: after 18 hours a delivery has failed."""
JITTER = 0.25
"""Up to so much longer, drawn anew each time, so that what failed together is not tried together again."""
REST_AFTER = 5
"""Failures in a row after which a webhook gets nothing for a while."""
_REST_S, _MOST_REST_S = 60, 3600
_LEASE_MS = 120_000
_AT_ONCE = 4
_KEPT = 100
_GONE = 410


@dataclass(frozen=True)
class _Taken:
    """A delivery that this process sends now."""

    id: int
    webhook_id: int
    url: str
    secrets: tuple[str, ...]
    message_id: str
    kind: str
    body: bytes


@dataclass(frozen=True)
class _Answer:
    """What became of an attempt: a status, or a problem on the way."""

    status: int | None
    problem: str | None

    @property
    def is_good(self) -> bool:
        return self.problem is None


class Delivering:
    """Sends for one registry. Runs may overlap, also between processes."""

    def __init__(
        self,
        database: Database,
        outbound: Outbound,
        *,
        clock: Callable[[], int] = now_ms,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._outbound = outbound
        self._clock = clock
        self._draw = draw

    def run(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Send what is due, to each webhook one message at a time, and return how many attempts that took."""
        attempts = 0
        with self._database.read() as session:
            is_idle = not webhooks.has_due(session, at_ms=self._clock())
        if is_idle:
            return attempts
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhooks") as pool:
            while not stopped() and (taken := self._take()) is not None:
                list(pool.map(self._deliver, taken))
                attempts += len(taken)
        return attempts

    def _take(self) -> list[_Taken] | None:
        """What to send now; None when nothing is due."""
        now = self._clock()
        with self._database.write() as session:
            due = webhooks.take_due(session, at_ms=now, limit=_AT_ONCE)
            if not due:
                return None
            return [_taken(each, webhook, now) for each, webhook in due if _is_meant(session, each, webhook)]

    def _deliver(self, taken: _Taken) -> None:
        began = self._clock()
        headers = signed_headers(taken.secrets, taken.message_id, at_s=began // 1000, body=taken.body)
        try:
            status = self._outbound.send(
                taken.url, headers={**headers, "Content-Type": "application/json"}, body=taken.body
            )
        except OutboundError as error:
            answer = _Answer(None, str(error))
        else:
            answer = _Answer(status, _problem(status))
        self._note(taken, answer)
        structlog.get_logger("petapter_registry_server").info(
            "webhook", webhook=taken.webhook_id, delivery=taken.id, kind=taken.kind, status=answer.status,
            delivered=answer.is_good, ms=self._clock() - began,
        )  # fmt: skip

    def _note(self, taken: _Taken, answer: _Answer) -> None:
        """Write down what became of an attempt; a webhook that was removed meanwhile is not looked for."""
        now = self._clock()
        with self._database.write() as session:
            delivery, webhook = session.get(Delivery, taken.id), session.get(Webhook, taken.webhook_id)
            if delivery is None or webhook is None:
                return
            delivery.tried_ms, delivery.status, delivery.problem = now, answer.status, answer.problem
            if answer.is_good:
                delivery.state, delivery.due_ms = DELIVERED, None
                webhook.failures = webhook.rest_until_ms = 0
            else:
                self._put_off(delivery, webhook, now)
            session.flush()
            webhooks.forget_old(session, webhook.id, keep=_KEPT)

    def _put_off(self, delivery: Delivery, webhook: Webhook, now: int) -> None:
        webhook.failures += 1
        if webhook.failures >= REST_AFTER:
            doublings = min(webhook.failures - REST_AFTER, 10)
            webhook.rest_until_ms = now + self._drawn_ms(min(_REST_S * 2**doublings, _MOST_REST_S))
        if delivery.attempts > len(DELAYS_S) or delivery.status == _GONE:
            delivery.state, delivery.due_ms = FAILED, None
        else:
            delivery.due_ms = now + self._drawn_ms(DELAYS_S[delivery.attempts - 1])

    def _drawn_ms(self, seconds: float) -> int:
        return round(seconds * 1000 * (1 + JITTER * self._draw()))


def _taken(delivery: Delivery, webhook: Webhook, now: int) -> _Taken:
    delivery.attempts += 1
    delivery.due_ms = now + _LEASE_MS
    body, secrets = delivery.body.encode(), _secrets(webhook, now)
    return _Taken(delivery.id, webhook.id, webhook.url, secrets, delivery.message_id, delivery.kind, body)


def _secrets(webhook: Webhook, now: int) -> tuple[str, ...]:
    """What signs now, the newest first; a former secret whose time is over is forgotten."""
    if webhook.former_secret is not None and (webhook.former_until_ms or 0) <= now:
        webhook.former_secret = webhook.former_until_ms = None
    return (webhook.secret, *([webhook.former_secret] if webhook.former_secret else []))


def _is_meant(session: Session, delivery: Delivery, webhook: Webhook) -> bool:
    """Whether the receiver may still know; roles and repositories change while a delivery waits."""
    if delivery.repository_id is None:
        return True
    repository = session.get_one(Repository, delivery.repository_id)
    if may_hear(session, webhook, repository, delivery.evaluation_set_id):
        return True
    delivery.state, delivery.due_ms = WITHHELD, None
    delivery.problem = "who made this webhook may not read the module, or see the evaluation set, any more"
    return False


def _problem(status: int) -> str | None:
    if 200 <= status < 300:  # noqa: PLR2004 (what HTTP calls success)
        return None
    if 300 <= status < 400:  # noqa: PLR2004
        return f"it answered with status {status}: redirects are not followed, so give the address that it leads to"
    return f"it answered with status {status}"
