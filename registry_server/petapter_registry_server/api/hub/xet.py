"""The routes that Xet clients upload by. Nothing here or elsewhere offers Xet for downloads."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.api.receiving import at_most, save_body
from petapter_registry_server.errors import InvalidTokenError
from petapter_registry_server.services.revisions import At
from petapter_registry_server.services.signed_addresses import LIFETIME_S, Grant
from petapter_registry_server.services.xet_formats import MAX_XORB_BYTES

router = APIRouter()

_CAS = "/api/xet"
_MAX_SHARD_BYTES = 64 << 20

Hash = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.get("/api/models/{namespace}/{name}/xet-write-token/{revision}")
def write_token(
    request: Request, at: Annotated[At, Depends(revision_of)], caller: CurrentCaller, services: AllServices
) -> Response:
    """A token for an hour of sending blocks for one repository, and where to."""
    grant = Grant("xet", services.xet.repository_of(caller, at.repo_id))
    token, expires = services.signed_addresses.sign(grant), int(time.time()) + LIFETIME_S
    address = f"{address_of(request)}{_CAS}"
    headers = {
        "X-Xet-Cas-Url": address,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
        "Cache-Control": "no-store",
    }
    return JSONResponse({"casUrl": address, "exp": expires, "accessToken": token}, headers=headers)


def _granted(request: Request, services: AllServices) -> Grant:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidTokenError
    return services.signed_addresses.read(token.strip(), "xet")


Granted = Annotated[Grant, Depends(_granted)]


@router.post(_CAS + "/v1/xorbs/default/{xorb_hash}")
async def receive_xorb(request: Request, xorb_hash: Hash, grant: Granted, services: AllServices) -> dict[str, bool]:
    """A block of chunks."""
    with services.xet.scratch() as scratch:
        file = scratch / "xorb"
        await save_body(request, file, at_most(MAX_XORB_BYTES))
        return {"was_inserted": await run_in_threadpool(services.xet.keep_xorb, grant, xorb_hash, file)}


@router.post(_CAS + "/v1/shards")
async def receive_shard(request: Request, grant: Granted, services: AllServices) -> dict[str, int]:
    """Which blocks make which files."""
    with services.xet.scratch() as scratch:
        file = scratch / "shard"
        await save_body(request, file, at_most(_MAX_SHARD_BYTES))
        await run_in_threadpool(services.xet.keep_shard, grant, file.read_bytes())
    return {"result": 1}


@router.api_route(_CAS + "/{rest:path}", methods=["GET", "POST"])
def not_known() -> Response:
    """Optional parts of Xet: clients go on without them when they are not found."""
    return JSONResponse({"error": "this registry takes Xet uploads in their plainest form"}, status_code=404)


@router.post("/v1/telemetry")
def telemetry() -> Response:
    """Usage reports of Xet clients, which are not recorded."""
    return Response()
