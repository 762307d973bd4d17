"""The webhooks of namespaces and modules, for their admins."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.people.shapes import DeliveryShape, NewWebhookShape, WebhookShape
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.services.events import KINDS, Kind
from petapter_registry_server.services.webhooks import MOST_OVERLAP_HOURS, OVERLAP_HOURS, NewWebhook, WebhookLine

router = APIRouter(prefix="/api/petapter/v1/webhooks", tags=["webhooks"], responses=PROBLEMS)

MAX_URL = 500
MAX_ID = (1 << 31) - 1
WebhookId = Annotated[int, Path(ge=1, le=MAX_ID)]


class WebhookWish(Body):
    """A webhook to make: for `team/*` or `team/name`."""

    place: str = Field(alias="for", max_length=300)
    url: str = Field(max_length=MAX_URL)
    events: tuple[Kind, ...] = KINDS


class NewSecret(Body):
    """A new secret for a webhook, and for how long the one before it signs too; 0 where that got out."""

    overlap_hours: int = Field(default=OVERLAP_HOURS, ge=0, le=MOST_OVERLAP_HOURS, alias="overlapHours")


@router.get("")
def list_webhooks(
    caller: CurrentCaller,
    services: AllServices,
    place: Annotated[str | None, Query(alias="for", max_length=300)] = None,
) -> list[WebhookShape]:
    """The webhooks of the places that the caller is an admin of, or of one of them."""
    return [_shown(line) for line in services.webhooks.list_for(caller, place)]


@router.post("")
def create_webhook(
    wish: Annotated[WebhookWish, Depends(json_body(WebhookWish))], caller: CurrentCaller, services: AllServices
) -> NewWebhookShape:
    """Make a webhook; its secret is in this answer alone."""
    issued = services.webhooks.create(caller, NewWebhook(wish.place, wish.url, wish.events))
    return NewWebhookShape(**dict(_shown(issued.line)), secret=issued.secret)


@router.delete("/{webhook}")
def remove_webhook(webhook: WebhookId, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Remove a webhook, with what is on its way to it."""
    services.webhooks.remove(caller, webhook)
    return {"success": True}


@router.post("/{webhook}/ping")
def ping_webhook(webhook: WebhookId, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Send an event that tells of nothing."""
    services.webhooks.ping(caller, webhook)
    return {"success": True}


@router.post("/{webhook}/secret")
def rotate_secret(
    webhook: WebhookId,
    wish: Annotated[NewSecret, Depends(json_body(NewSecret))],
    caller: CurrentCaller,
    services: AllServices,
) -> NewWebhookShape:
    """Give a webhook a new secret, which is in this answer alone; for a while the one before it signs too."""
    issued = services.webhooks.rotate(caller, webhook, overlap_hours=wish.overlap_hours)
    return NewWebhookShape(**dict(_shown(issued.line)), secret=issued.secret)


@router.get("/{webhook}/deliveries")
def list_deliveries(
    webhook: WebhookId,
    caller: CurrentCaller,
    services: AllServices,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> list[DeliveryShape]:
    """What became of the last events, newest first."""
    _, lines = services.webhooks.deliveries(caller, webhook, before, limit=limit)
    return [
        DeliveryShape(
            id=line.id,
            message_id=line.message_id,
            event=line.kind,
            created_at=line.created,
            state=line.state,
            attempts=line.attempts,
            tried_at=line.tried,
            next_at=line.due,
            status=line.status,
            problem=line.problem,
        )
        for line in lines
    ]


def _shown(line: WebhookLine) -> WebhookShape:
    return WebhookShape(
        id=line.id,
        place=line.place,
        url=line.url,
        events=line.kinds,
        created_at=line.created,
        failures_in_a_row=line.failures,
        rests_until=line.rests_until,
        former_secret_until=line.former_until,
    )
