"""The webhooks of the places that the visitor is an admin of, and what became of the events for one."""

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.people.webhooks import MAX_ID, MAX_URL, WebhookId
from petapter_registry_server.services.events import KINDS
from petapter_registry_server.services.webhooks import MOST_OVERLAP_HOURS, IssuedWebhook, NewWebhook
from petapter_registry_server.services.wired import Services
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, Visitor, read_form

router = page_router()

_PAGE = 50


class NewWebhookForm(Fields):
    """A webhook to make, with a box for each kind of event."""

    place: str = Field(alias="for", max_length=300)
    url: str = Field(max_length=MAX_URL)
    publish: bool = False
    yank: bool = False
    unyank: bool = False
    evaluation: bool = False

    def wanted(self) -> NewWebhook:
        """What the form asks for."""
        return NewWebhook(self.place, self.url, tuple(kind for kind in KINDS if getattr(self, kind)))


class NewSecretForm(Fields):
    """A new secret for a webhook, and for how many hours the one before it signs too."""

    hours: int = Field(ge=0, le=MOST_OVERLAP_HOURS)


@router.get("/web/webhooks")
def webhooks_page(
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
    place: Annotated[str | None, Query(alias="for", max_length=300)] = None,
) -> Response:
    """The visitor's webhooks, all or those of one place."""
    return _list(request, visitor, services, place, None)


@router.post("/web/webhooks")
def create_webhook(request: Request, fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Make a webhook and show its secret, this once."""
    issued = services.webhooks.create(visitor.caller, read_form(fields, NewWebhookForm).wanted())
    return _list(request, visitor, services, issued.line.place, issued)


@router.get("/web/webhooks/{webhook}")
def deliveries_page(
    webhook: WebhookId,
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Response:
    """What became of the events for a webhook."""
    hook, lines = services.webhooks.deliveries(visitor.caller, webhook, before, limit=_PAGE)
    older = lines[-1].id if len(lines) == _PAGE else None
    return page(request, "deliveries.html", hook=hook, lines=lines, older=older, before=before, issued=None)


@router.post("/web/webhooks/{webhook}/secret")
def rotate_secret(
    webhook: WebhookId, request: Request, fields: SentFields, visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Give a webhook a new secret and show it, this once."""
    hours = read_form(fields, NewSecretForm).hours
    issued = services.webhooks.rotate(visitor.caller, webhook, overlap_hours=hours)
    _, lines = services.webhooks.deliveries(visitor.caller, webhook, limit=_PAGE)
    older = lines[-1].id if len(lines) == _PAGE else None
    return page(request, "deliveries.html", hook=issued.line, lines=lines, older=older, before=None, issued=issued)


@router.post("/web/webhooks/{webhook}/ping")
def ping_webhook(webhook: WebhookId, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Send an event that tells of nothing."""
    services.webhooks.ping(visitor.caller, webhook)
    return RedirectResponse(f"/web/webhooks/{webhook}", status_code=SEE_OTHER)


@router.post("/web/webhooks/{webhook}/remove")
def remove_webhook(webhook: WebhookId, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Remove a webhook."""
    services.webhooks.remove(visitor.caller, webhook)
    return RedirectResponse("/web/webhooks", status_code=SEE_OTHER)


def _list(
    request: Request, visitor: Visitor, services: Services, place: str | None, issued: IssuedWebhook | None
) -> Response:
    lines = services.webhooks.list_for(visitor.caller, place)
    return page(request, "webhooks.html", lines=lines, place=place, kinds=KINDS, issued=issued)
