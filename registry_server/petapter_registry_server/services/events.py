"""What the registry tells to webhooks: each event is written in the transaction of what it tells of.

So nothing is told that did not happen, and nothing that happened is left untold by a crash. `delivering.py` sends.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import memberships, webhooks
from petapter_registry_server.db.evaluation_sets import is_seen_by
from petapter_registry_server.db.tables import Repository, User
from petapter_registry_server.db.webhook_tables import FAILED, WAITING, Delivery, Webhook
from petapter_schemas.module_facts import MetricFacts

Kind = Literal["publish", "yank", "unyank", "evaluation"]
KINDS: tuple[Kind, ...] = ("publish", "yank", "unyank", "evaluation")
PING = "ping"

MOST_WAITING = 1000
"""Deliveries that one webhook may have waiting; a receiver that is away for longer misses what comes then."""


@dataclass(frozen=True)
class Event:
    """Something that happened to one version of a module.

    Attributes:
        kind: What.
        by: Who did it.
        version: SemVer, or None of a commit that is no version.
        commit: Its id.
        details: What else the kind says; JSON values.
        evaluation_set_id: The set that it tells of, if any: it is for those alone who may see that.
    """

    kind: Kind
    by: str
    version: str | None
    commit: str
    details: Mapping[str, object] = field(default_factory=dict)
    evaluation_set_id: int | None = None


@dataclass(frozen=True)
class Evaluated:
    """What a figure is about.

    Attributes:
        by: Who evaluated, as the audit names them.
        version: SemVer, or None of a commit that is no version.
        commit: The evaluated commit.
        evaluation_set_id: On which set.
    """

    by: str
    version: str | None
    commit: str
    evaluation_set_id: int


@dataclass(frozen=True)
class Message:
    """What one webhook is told, and the repository and the evaluation set that this gives away, if any."""

    kind: str
    data: Mapping[str, object]
    repository_id: int | None = None
    evaluation_set_id: int | None = None


def announce(session: Session, repository: Repository, event: Event) -> int:
    """Put an event on its way to the webhooks that hear of it, and return to how many.

    To be called in the write that makes it true. Receivers get `{"type", "timestamp", "data"}`, where `data` has
    `module`, `private`, `version`, `commit`, `by` and the details.
    """
    heard = [webhook for webhook in webhooks.hearing(session, repository) if event.kind in webhook.kinds.split()]
    told = [webhook for webhook in heard if may_hear(session, webhook, repository, event.evaluation_set_id)]
    data = {
        "module": repository.full_name,
        "private": repository.private,
        "version": event.version,
        "commit": event.commit,
        "by": event.by,
        **event.details,
    }
    for webhook in told:
        put(session, webhook, Message(event.kind, data, repository.id, event.evaluation_set_id))
    return len(told)


def announce_evaluation(session: Session, repository: Repository, figure: MetricFacts, about: Evaluated) -> int:
    """Put an event of the kind `evaluation` on its way: this registry has a new word on a figure of a module.

    To be called once for each figure, in the write that records it, by whatever records evaluations. The details are
    the fields of the figure: `metric`, `value`, `low`, `high`, `level`, `evaluation_set`, `split`, `sha256`, `n` and
    `status`. No row of the evaluation set and no answer to one is among them.

    Args:
        session: The write.
        repository: Whose module was evaluated.
        figure: What was found.
        about: Of which version, on which set, by whom.
    """
    details = figure.model_dump(mode="json")
    event = Event("evaluation", about.by, about.version, about.commit, details, about.evaluation_set_id)
    return announce(session, repository, event)


def may_hear(session: Session, webhook: Webhook, repository: Repository, evaluation_set_id: int | None) -> bool:
    """Whether who made a webhook could read the repository, and see the evaluation set that an event tells of, now:
    nobody learns more by a webhook than by asking.
    """
    maker = session.get_one(User, webhook.user_id)
    if maker.disabled_ms is not None or repository.deleted_ms is not None:
        return False
    if repository.private and memberships.role_on(session, repository, maker.id) is None:
        return False
    return evaluation_set_id is None or is_seen_by(session, evaluation_set_id, maker.id)


def put(session: Session, webhook: Webhook, message: Message) -> None:
    """Put one message on its way to one webhook, unless too many wait there already: then it has failed at once."""
    at = now_ms()
    is_full = webhooks.count_waiting(session, webhook.id) >= MOST_WAITING
    session.add(
        Delivery(
            webhook_id=webhook.id,
            repository_id=message.repository_id,
            evaluation_set_id=message.evaluation_set_id,
            message_id=f"msg_{secrets.token_urlsafe(18)}",
            kind=message.kind,
            body=json.dumps(
                {"type": message.kind, "timestamp": hub_date(at), "data": message.data}, separators=(",", ":")
            ),
            created_ms=at,
            state=FAILED if is_full else WAITING,
            attempts=0,
            due_ms=None if is_full else at,
            tried_ms=None,
            status=None,
            problem=f"{MOST_WAITING} others waited already" if is_full else None,
        )
    )
