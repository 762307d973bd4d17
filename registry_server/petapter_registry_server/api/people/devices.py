"""Login by browser: the program begins, and somebody with a token approves or refuses."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.device_login import INTERVAL_S, WAIT_S

router = APIRouter()


@router.post("/oauth/device")
def begin(request: Request, services: AllServices) -> JSONResponse:
    """Let a program wait for approval; any client may."""
    device = services.devices.begin()
    answer: dict[str, Any] = {
        "device_code": device.device_code,
        "user_code": device.user_code,
        "verification_uri": f"{address_of(request)}/oauth/device",
        "interval": INTERVAL_S,
        "expires_in": WAIT_S,
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


@router.get("/oauth/device")
def explain(request: Request) -> Response:
    """How to approve; browsers are led to the page that does it."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/web/devices", status_code=303)
    route = f"{address_of(request)}/api/petapter/v1/devices/CODE/approve"
    return PlainTextResponse(
        "A program asks to act as you on this registry. If you started it and it shows the same code, approve it at "
        f"{address_of(request)}/web/devices, or with a token of yours:\n\n"
        f"    curl -X POST -H 'Authorization: Bearer TOKEN' {route}\n\nor let whoever runs the "
        "registry do it:\n\n    petapter-registry token approve --data DIR --user YOU CODE\n"
    )


@router.post("/api/petapter/v1/devices/{code}/approve", tags=["devices"], responses=PROBLEMS)
def approve(code: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Let the program that shows a code act as the caller."""
    services.devices.approve(caller, code)
    return {"success": True}


@router.post("/api/petapter/v1/devices/{code}/deny", tags=["devices"], responses=PROBLEMS)
def deny(code: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Send the program that shows a code away."""
    services.devices.deny(caller, code)
    return {"success": True}
