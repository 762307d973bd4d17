"""The audit, for admins of the registry."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from petapter_registry_server.api.addresses import next_page
from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.people.shapes import AuditShape
from petapter_registry_server.api.problems import PROBLEMS

router = APIRouter(tags=["audit"], responses=PROBLEMS)

_PAGE = 1000
_MAX_ID = 1 << 62


@router.get("/api/petapter/v1/audit", response_model=list[AuditShape])
def read_audit(
    request: Request,
    services: AllServices,
    after: Annotated[int, Query(ge=0, le=_MAX_ID)] = 0,
    limit: Annotated[int, Query(ge=1)] = 100,
) -> JSONResponse:
    """One page of the audit, oldest first, and the address of the next page; `after` is the last row seen."""
    size = min(limit, _PAGE)
    page = services.audit.page(after, limit=size)
    headers = next_page(request, after=str(page[-1].id)) if len(page) == size else {}
    return JSONResponse([asdict(line) for line in page], headers=headers)
