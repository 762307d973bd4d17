"""Webhooks as their owners make, see, test and remove them: the admins of a namespace or of one module."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import accounts, audit, webhooks
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Namespace, Repository
from petapter_registry_server.db.webhook_tables import Delivery, Webhook
from petapter_registry_server.errors import (
    InvalidRequestError,
    NamespaceNotFoundError,
    PermissionDeniedError,
    RepositoryNotFoundError,
    WebhookNotFoundError,
)
from petapter_registry_server.services.access import Access, namespace_standing
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.events import KINDS, PING, Kind, Message, put
from petapter_registry_server.services.outbound import Outbound
from petapter_registry_server.services.patterns import check_pattern, whole_namespace
from petapter_registry_server.services.policy import granted, refusal, require_token
from petapter_registry_server.services.roles import reaches
from petapter_registry_server.services.signing_events import new_secret
from petapter_registry_server.services.tokens import user_id_of
from petapter_schemas.names import name_key

MOST_PER_PLACE = 20
OVERLAP_HOURS, MOST_OVERLAP_HOURS = 24, 168
"""For how long a former secret signs beside the new one, unless its owner says otherwise."""
_HOUR_MS = 3_600_000
_ALL = "/*"


@dataclass(frozen=True)
class NewWebhook:
    """A webhook that somebody wants: for `team/*` or `team/name`, where events go, and which."""

    place: str
    url: str
    kinds: tuple[Kind, ...] = KINDS


@dataclass(frozen=True)
class WebhookLine:
    """A webhook. `rests_until` is set while nothing is sent because too much failed, `former_until` while the secret
    before this one signs too.
    """

    id: int
    place: str
    url: str
    kinds: tuple[str, ...]
    created: str
    failures: int
    rests_until: str | None
    former_until: str | None


@dataclass(frozen=True)
class IssuedWebhook:
    """A webhook with its new secret, which is shown this once."""

    line: WebhookLine
    secret: str


@dataclass(frozen=True)
class DeliveryLine:
    """What became of one event. `due` is when the next attempt may begin."""

    id: int
    message_id: str
    kind: str
    created: str
    state: str
    attempts: int
    tried: str | None
    due: str | None
    status: int | None
    problem: str | None


@dataclass(frozen=True)
class _Place:
    name: str
    namespace_id: int | None
    repository_id: int | None


class Webhooks:
    """The webhooks of one registry."""

    def __init__(self, database: Database, access: Access, outbound: Outbound) -> None:
        self._database = database
        self._access = access
        self._outbound = outbound

    def create(self, caller: Caller, new: NewWebhook) -> IssuedWebhook:
        """Let an address hear of what happens in a place, as far as the caller may know it while it happens.

        Raises:
            PermissionDeniedError: The caller is no admin there.
            RepositoryNotFoundError: There is no such module for this caller.
            NamespaceNotFoundError: There is no such namespace that the caller belongs to.
            InvalidRequestError: The place is none, no kind is named, or the place has too many webhooks.
            OutboundError: The address is none that may be asked: not https, or inside a network.
        """
        require_token(caller, "admin")
        check_pattern(new.place)
        if not new.kinds:
            raise InvalidRequestError(f"name the events to hear of: {', '.join(KINDS)}")
        with self._database.read() as session:
            self._place(session, caller, new.place)
        self._outbound.check_url(new.url)
        self._outbound.check_place(new.url)
        secret = new_secret()
        with self._database.write() as session:
            place = self._place(session, caller, new.place)
            there = webhooks.of_place(session, namespace_id=place.namespace_id, repository_id=place.repository_id)
            if len(there) >= MOST_PER_PLACE:
                raise InvalidRequestError(f"{place.name} has {MOST_PER_PLACE} webhooks already: remove one")
            row = _new_row(caller, place, new, secret)
            session.add(row)
            session.flush()
            _record(session, caller, "webhook.create", place.name, row)
            return IssuedWebhook(_line(row, place.name), secret)

    def list_for(self, caller: Caller, place: str | None = None) -> Sequence[WebhookLine]:
        """The webhooks of all places that the caller is an admin of, or of one of them.

        Raises:
            As `create`, for the place.
        """
        with self._database.read() as session:
            wanted = None if place is None else self._place(session, caller, check_pattern(place)).name
            owner = None if caller.is_admin else user_id_of(caller)
            found = webhooks.administered_by(session, owner)
            return [_line(webhook, name) for webhook, name in found if caller.covers(name) and wanted in {None, name}]

    def remove(self, caller: Caller, webhook_id: int) -> None:
        """Tell an address no more; what is on its way to it is not sent.

        Raises:
            WebhookNotFoundError: There is none for this caller.
        """
        with self._database.write() as session:
            webhook, place = self._own(session, caller, webhook_id)
            webhooks.remove(session, webhook)
            _record(session, caller, "webhook.remove", place, webhook)

    def rotate(self, caller: Caller, webhook_id: int, *, overlap_hours: int) -> IssuedWebhook:
        """Give a webhook a new secret; the one before it signs beside it for so many hours.

        Of former secrets there is one: what was still signing from a change before ends.

        Raises:
            WebhookNotFoundError: There is none for this caller.
        """
        with self._database.write() as session:
            webhook, place = self._own(session, caller, webhook_id)
            stays = overlap_hours > 0
            webhook.former_secret = webhook.secret if stays else None
            webhook.former_until_ms = now_ms() + overlap_hours * _HOUR_MS if stays else None
            webhook.secret = new_secret()
            _record(session, caller, "webhook.rotate", place, webhook)
            return IssuedWebhook(_line(webhook, place), webhook.secret)

    def ping(self, caller: Caller, webhook_id: int) -> None:
        """Send a webhook an event that tells of nothing, to see whether it arrives.

        Raises:
            WebhookNotFoundError: There is none for this caller.
            InvalidRequestError: One is on its way already.
        """
        with self._database.write() as session:
            webhook, place = self._own(session, caller, webhook_id)
            if webhooks.count_waiting(session, webhook.id, kind=PING):
                raise InvalidRequestError("a ping is on its way already: look at its deliveries")
            put(session, webhook, Message(PING, {"webhook": webhook.id, "by": caller.name}))
            webhook.rest_until_ms = 0
            _record(session, caller, "webhook.ping", place, webhook)

    def deliveries(
        self, caller: Caller, webhook_id: int, before: int | None = None, *, limit: int = 50
    ) -> tuple[WebhookLine, Sequence[DeliveryLine]]:
        """A webhook and what became of its events, newest first; the last hundred that are at their end are kept.

        Raises:
            WebhookNotFoundError: There is none for this caller.
        """
        with self._database.read() as session:
            webhook, place = self._own(session, caller, webhook_id)
            rows = webhooks.list_deliveries(session, webhook.id, before=before, limit=limit)
            return _line(webhook, place), [_delivery_line(row) for row in rows]

    def _place(self, session: Session, caller: Caller, place: str) -> _Place:
        """The namespace or the module of a pattern, when the caller is an admin there."""
        if not place.endswith(_ALL):
            repository = self._access.administrable(session, caller, place)
            return _Place(repository.full_name, None, repository.id)
        name = place.removesuffix(_ALL)
        namespace = accounts.find_namespace(session, name_key(name))
        if namespace is None or namespace.name.lower() != name.lower():
            raise NamespaceNotFoundError(name)
        standing = namespace_standing(session, caller, namespace)
        if standing.role is None and not caller.is_admin:
            raise NamespaceNotFoundError(name)
        if not reaches(granted(caller, standing), "admin"):
            raise refusal(caller, standing, "admin")
        return _Place(whole_namespace(namespace.name), namespace.id, None)

    def _own(self, session: Session, caller: Caller, webhook_id: int) -> tuple[Webhook, str]:
        """A webhook and the name of its place, when the caller is an admin there."""
        webhook = session.get(Webhook, webhook_id)
        if webhook is None:
            raise WebhookNotFoundError(webhook_id)
        if webhook.repository_id is not None:
            name = session.get_one(Repository, webhook.repository_id).full_name
        else:
            name = whole_namespace(session.get_one(Namespace, webhook.namespace_id).name)
        try:
            self._place(session, caller, name)
        except (NamespaceNotFoundError, RepositoryNotFoundError, PermissionDeniedError) as error:
            raise WebhookNotFoundError(webhook_id) from error
        return webhook, name


def _new_row(caller: Caller, place: _Place, new: NewWebhook, secret: str) -> Webhook:
    return Webhook(
        namespace_id=place.namespace_id,
        repository_id=place.repository_id,
        user_id=user_id_of(caller),
        url=new.url,
        secret=secret,
        kinds=" ".join(kind for kind in KINDS if kind in new.kinds),
        created_ms=now_ms(),
        failures=0,
        rest_until_ms=0,
    )


def _record(session: Session, caller: Caller, action: str, place: str, webhook: Webhook) -> None:
    """Without the address, whose path can be a secret of the receiver."""
    audit.record(session, actor=caller.name, action=action, subject=place, detail=f"id={webhook.id}")


def _line(webhook: Webhook, place: str) -> WebhookLine:
    rests = webhook.rest_until_ms if webhook.rest_until_ms > now_ms() else None
    former = webhook.former_until_ms if (webhook.former_until_ms or 0) > now_ms() else None
    return WebhookLine(
        id=webhook.id,
        place=place,
        url=webhook.url,
        kinds=tuple(webhook.kinds.split()),
        created=hub_date(webhook.created_ms),
        failures=webhook.failures,
        rests_until=None if rests is None else hub_date(rests),
        former_until=None if former is None else hub_date(former),
    )


def _delivery_line(row: Delivery) -> DeliveryLine:
    return DeliveryLine(
        id=row.id,
        message_id=row.message_id,
        kind=row.kind,
        created=hub_date(row.created_ms),
        state=row.state,
        attempts=row.attempts,
        tried=None if row.tried_ms is None else hub_date(row.tried_ms),
        due=None if row.due_ms is None else hub_date(row.due_ms),
        status=row.status,
        problem=row.problem,
    )
