"""The visitor's own tokens: made, shown once, revoked."""

from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.services.accounts import IssuedToken
from petapter_registry_server.services.roles import ROLES, Role, reaches
from petapter_registry_server.services.tokens import NewToken
from petapter_registry_server.services.wired import Services
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, Visitor, read_form

router = page_router()

_MAX_ID = 1 << 31


class TokenForm(Fields):
    """A token to make."""

    name: str
    scope: Role = "read"
    pattern: str | None = None
    days: int = Field(default=90, ge=1, le=366)


@router.get("/web/tokens")
def tokens_page(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """What is known of the visitor's tokens, and a form for a new one."""
    return _page(request, visitor, services, issued=None)


@router.post("/web/tokens")
def create_token(request: Request, fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Make a token; this page shows it and no other one will."""
    form = read_form(fields, TokenForm)
    issued = services.tokens.create(visitor.caller, NewToken(form.name, form.scope, form.pattern, form.days))
    return _page(request, visitor, services, issued=issued)


@router.post("/web/tokens/{token}/revoke")
def revoke_token(
    token: Annotated[int, Path(ge=1, le=_MAX_ID)], visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Make one of the visitor's tokens worthless."""
    services.tokens.revoke(visitor.caller, token)
    return RedirectResponse("/web/tokens", status_code=SEE_OTHER)


def _page(request: Request, visitor: Visitor, services: Services, *, issued: IssuedToken | None) -> Response:
    lines = [*services.tokens.list_own(visitor.caller)][::-1]
    now = hub_date(now_ms())
    return page(
        request,
        "tokens.html",
        lines=[line for line in lines if line.revoked is None and (line.expires is None or line.expires > now)],
        ended=[
            line for line in lines if line.revoked is not None or (line.expires is not None and line.expires <= now)
        ],
        issued=issued,
        own=visitor.whole.token_id,
        scopes=ROLES,
        may_change=reaches(visitor.whole.most, "admin"),
        provider=services.sign_in.label if services.sign_in else None,
    )
