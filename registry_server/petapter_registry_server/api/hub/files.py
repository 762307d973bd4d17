"""Downloads: HEAD and GET of a file at a revision, with byte ranges."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from petapter_registry_server.api.at_once import at_once
from petapter_registry_server.api.byte_ranges import ByteRange, requested_range
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, client_address
from petapter_registry_server.api.hub.notices import warning_header
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.reading import FoundFile
from petapter_registry_server.services.revisions import At
from petapter_registry_server.tree import TreeFile

router = APIRouter()

_AT_ONCE_BYTES = 1 << 20
"""So many are read where the route runs: a stream takes a thread for every chunk, and one for finding its end."""


@router.head("/{namespace}/{name}/resolve/{revision}/{path:path}")
async def describe_file(
    at: Annotated[At, Depends(revision_of)], path: Segment, caller: CurrentCaller, services: AllServices
) -> Response:
    """Size, digest and commit of a file."""
    found = await at_once(lambda: services.reading.file(caller, at, path))
    return Response(headers={**_headers(found), "Content-Length": str(found.file.size)})


@router.get("/{namespace}/{name}/resolve/{revision}/{path:path}")
def download_file(
    request: Request,
    at: Annotated[At, Depends(revision_of)],
    path: Segment,
    caller: CurrentCaller,
    services: AllServices,
) -> Response:
    """The bytes of a file, or a part of them, or the address in the object store where they are."""
    found = services.reading.file(caller, at, path)
    headers = _headers(found)
    part = requested_range(request.headers, size=found.file.size, etag=headers["ETag"])
    chosen = part or ByteRange(0, found.file.size)
    if found.is_first and chosen.begin == 0:
        services.downloads.count(found.repository_id, found.commit_oid, caller, client_address(request))
    if address := services.reading.address(found.file):
        return RedirectResponse(address, status_code=302, headers=_redirect_headers(found))
    headers["Content-Length"] = str(chosen.length)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.begin}-{part.end - 1}/{found.file.size}"
    chunks = services.reading.open(found.file, chosen.begin, chosen.end)
    status = 206 if part else 200
    if chosen.length <= _AT_ONCE_BYTES:
        return Response(b"".join(chunks), status_code=status, headers=headers)
    return StreamingResponse(chunks, status_code=status, headers=headers)


def _headers(found: FoundFile) -> dict[str, str]:
    """A browser must never run what somebody uploaded: hence attachment, nosniff and the sandbox."""
    name = quote(found.file.path.rpartition("/")[2])
    return {
        **warning_header(found.notice),
        "X-Repo-Commit": found.commit_oid,
        "ETag": f'"{_etag(found.file)}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }


def _etag(file: TreeFile) -> str:
    """What clients name the file by in their caches: git's id, or the sha256 of a file that came apart."""
    return file.sha256 if file.is_apart else file.git_oid


def _redirect_headers(found: FoundFile) -> dict[str, str]:
    """What clients read of the file itself; they look for it on this answer, not on the object store's."""
    etag = f'"{_etag(found.file)}"'
    return {
        "X-Repo-Commit": found.commit_oid,
        "ETag": etag,
        "X-Linked-ETag": etag,
        "X-Linked-Size": str(found.file.size),
        "Cache-Control": "no-store",
    }
