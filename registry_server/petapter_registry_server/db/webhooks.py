"""Webhooks and what is on its way to them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, true
from sqlalchemy.orm import Session

from petapter_registry_server.db.people_tables import Grant
from petapter_registry_server.db.tables import Membership, Namespace, Repository
from petapter_registry_server.db.webhook_tables import FAILED, WAITING, Delivery, Webhook


@dataclass(frozen=True)
class WebhookCounts:
    """Webhooks, those whose last attempt failed, and deliveries: that wait, and the kept ones that failed."""

    webhooks: int
    failing: int
    waiting: int
    failed: int


def of_place(session: Session, *, namespace_id: int | None, repository_id: int | None) -> Sequence[Webhook]:
    """The webhooks of a namespace, or of a repository, oldest first."""
    place = Webhook.namespace_id == namespace_id if repository_id is None else Webhook.repository_id == repository_id
    return session.scalars(select(Webhook).where(place).order_by(Webhook.id)).all()


def hearing(session: Session, repository: Repository) -> Sequence[Webhook]:
    """The webhooks that hear of the events of a repository."""
    place = or_(Webhook.namespace_id == repository.namespace_id, Webhook.repository_id == repository.id)
    return session.scalars(select(Webhook).where(place).order_by(Webhook.id)).all()


def administered_by(session: Session, user_id: int | None) -> Sequence[tuple[Webhook, str]]:
    """The webhooks of all places that a user is an admin of, with the names of the places; for None all of them."""
    name = func.coalesce(Repository.full_name, Namespace.name + "/*")
    rows = session.execute(
        select(Webhook, name)
        .outerjoin(Repository, Repository.id == Webhook.repository_id)
        .outerjoin(Namespace, Namespace.id == Webhook.namespace_id)
        .where(true() if user_id is None else _is_admin(user_id))
        .order_by(Webhook.id)
    )
    return [(webhook, place) for webhook, place in rows]


def _is_admin(user_id: int) -> ColumnElement[bool]:
    namespace = func.coalesce(Webhook.namespace_id, Repository.namespace_id)
    member = exists().where(
        Membership.namespace_id == namespace, Membership.user_id == user_id, Membership.role == "admin"
    )
    granted = exists().where(
        Grant.repository_id == Webhook.repository_id, Grant.user_id == user_id, Grant.role == "admin"
    )
    return or_(member, granted)


def remove(session: Session, webhook: Webhook) -> None:
    """Remove a webhook with all that is on its way to it."""
    session.execute(delete(Delivery).where(Delivery.webhook_id == webhook.id))
    session.delete(webhook)


def remove_of_repository(session: Session, repository_id: int) -> None:
    """Remove the webhooks of a repository alone, with what is on its way to them."""
    for webhook in of_place(session, namespace_id=None, repository_id=repository_id):
        remove(session, webhook)


def count_waiting(session: Session, webhook_id: int, *, kind: str | None = None) -> int:
    """Number of deliveries, of one kind or all, that are not at their end."""
    which = [Delivery.webhook_id == webhook_id, Delivery.state == WAITING]
    which += [] if kind is None else [Delivery.kind == kind]
    return session.scalar(select(func.count(Delivery.id)).where(*which)) or 0


def list_deliveries(session: Session, webhook_id: int, *, before: int | None, limit: int) -> Sequence[Delivery]:
    """The deliveries to a webhook, newest first, before one of them or from the last on."""
    statement = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.id.desc()).limit(limit)
    return session.scalars(statement if before is None else statement.where(Delivery.id < before)).all()


def has_due(session: Session, *, at_ms: int) -> bool:
    """Whether anything could be sent now."""
    return session.scalar(_due(at_ms)) is not None


def take_due(session: Session, *, at_ms: int, limit: int) -> Sequence[tuple[Delivery, Webhook]]:
    """What is to be sent now: of each webhook the first that is due, the longest due webhook first."""
    first = _due(at_ms).group_by(Delivery.webhook_id).order_by(func.min(Delivery.due_ms)).limit(limit)
    rows = session.execute(
        select(Delivery, Webhook).join(Webhook, Webhook.id == Delivery.webhook_id).where(Delivery.id.in_(first))
    )
    return [(delivery, webhook) for delivery, webhook in rows]


def _due(at_ms: int) -> Select[int]:
    return (
        select(func.min(Delivery.id))
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.due_ms <= at_ms, Webhook.rest_until_ms <= at_ms)
    )


def forget_old(session: Session, webhook_id: int, *, keep: int) -> None:
    """Remove the deliveries that are at their end, but for the newest ones of a webhook."""
    kept = (
        select(Delivery.id)
        .where(Delivery.webhook_id == webhook_id, Delivery.due_ms.is_(None))
        .order_by(Delivery.id.desc())
        .offset(keep)
        .limit(1)
    ).scalar_subquery()
    session.execute(
        delete(Delivery).where(Delivery.webhook_id == webhook_id, Delivery.due_ms.is_(None), Delivery.id <= kept)
    )


def count_all(session: Session) -> WebhookCounts:
    """What there is, for operators."""
    states = session.execute(select(Delivery.state, func.count(Delivery.id)).group_by(Delivery.state))
    deliveries = dict(states.all())
    return WebhookCounts(
        webhooks=session.scalar(select(func.count(Webhook.id))) or 0,
        failing=session.scalar(select(func.count(Webhook.id)).where(Webhook.failures > 0)) or 0,
        waiting=deliveries.get(WAITING, 0),
        failed=deliveries.get(FAILED, 0),
    )
