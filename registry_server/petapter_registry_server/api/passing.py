"""Answers of the read-through proxy: the upstream's bytes under our own headers."""

from typing import cast

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import small_body
from petapter_registry_server.api.route_policy import MIRRORED
from petapter_registry_server.services.upstream import Asked, Upstream
from petapter_registry_server.services.wired import Services

_FILE_HEADERS = {
    "Accept-Ranges": "bytes",
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


async def pass_through(request: Request, repo_id: str) -> Response:
    """Ask the upstream what a caller asked here, and pass its answer on as it arrives.

    Raises:
        RepositoryNotFoundError: There is no such repository there.
        TooLargeError: The body is too long.
        UpstreamError: It does not answer as a Hub.
    """
    upstream = cast("Upstream", cast("Services", request.app.state.services).upstream)
    asked = Asked(
        repo_id=repo_id,
        kind=MIRRORED[f"{request.method} {request.scope['route'].path}"],
        method=request.method,
        path=request.scope["path"],
        query=request.url.query,
        headers=request.headers,
        body=await small_body(request) if request.method == "POST" else b"",
    )
    passed = await run_in_threadpool(upstream.fetch, asked)
    headers = {**(_FILE_HEADERS if asked.kind == "file" else {}), **passed.headers}
    if passed.next_page:
        headers["Link"] = f'<{address_of(request)}{passed.next_page}>; rel="next"'
    return StreamingResponse(passed.chunks, status_code=passed.status, headers=headers)
