"""Gated repositories: to ask for access, and to decide about it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.clock import hub_date
from petapter_registry_server.services.gates import Decision, Status

router = APIRouter()

_MAX_ID = 1 << 31


class Handled(Body):
    """What is to become of a request."""

    status: Status
    user: str | None = None
    request_id: Annotated[int, Field(ge=1, le=_MAX_ID)] | None = Field(default=None, alias="requestId")
    reason: Annotated[str, StringConstraints(max_length=500)] = Field(default="", alias="rejectionReason")


class Granted(Body):
    """Who is to be let in."""

    user: str


@router.post("/{namespace}/{name}/ask-access")
@router.post("/api/models/{namespace}/{name}/ask-access")
def ask(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, str]:
    """Ask to get the files of a gated repository."""
    return {"status": services.gates.ask(caller, f"{namespace}/{name}")}


@router.get("/api/models/{namespace}/{name}/user-access-request/{status}")
def list_requests(
    namespace: Segment, name: Segment, status: Status, caller: CurrentCaller, services: AllServices
) -> list[dict[str, Any]]:
    """Who asked."""
    return [
        {
            "requestId": str(asking.id),
            "user": {"user": asking.user, "fullname": asking.user},
            "status": asking.status,
            "timestamp": hub_date(asking.created_ms),
        }
        for asking in services.gates.requests(caller, f"{namespace}/{name}", status)
    ]


@router.post("/api/models/{namespace}/{name}/user-access-request/handle")
def handle(
    namespace: Segment,
    name: Segment,
    handled: Annotated[Handled, Depends(json_body(Handled))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, bool]:
    """Let somebody in who asked, or not."""
    decision = Decision(handled.status, handled.user, handled.request_id, handled.reason)
    services.gates.decide(caller, f"{namespace}/{name}", decision)
    return {"success": True}


@router.post("/api/models/{namespace}/{name}/user-access-request/grant")
def grant(
    namespace: Segment,
    name: Segment,
    granted: Annotated[Granted, Depends(json_body(Granted))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, bool]:
    """Let somebody in who did not ask."""
    services.gates.grant(caller, f"{namespace}/{name}", granted.user)
    return {"success": True}
