"""What admins of the registry look at: the audit, and how the registry fares."""

from typing import Annotated

from fastapi import Query, Request, Response

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.metrics import Metrics
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor

router = page_router()

_PAGE = 50
_MAX_ID = 1 << 62


@router.get("/web/audit")
def audit_page(
    request: Request,
    visitor: CurrentVisitor,  # noqa: ARG001 (the guard)
    services: AllServices,
    before: Annotated[int | None, Query(ge=1, le=_MAX_ID)] = None,
) -> Response:
    """Every change, the newest first."""
    lines = services.audit.newest(before, limit=_PAGE)
    return page(request, "audit.html", lines=lines, older=lines[-1].id if len(lines) == _PAGE else None, before=before)


@router.get("/web/operations")
def operations_page(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:  # noqa: ARG001 (the guard)
    """What is stored, what waits to be deleted, what scrubs found, and which requests failed."""
    metrics: Metrics = request.app.state.metrics
    return page(
        request,
        "operations.html",
        overview=services.operations.overview(),
        problems=services.readiness.problems(),
        requests=metrics.summary(),
    )
