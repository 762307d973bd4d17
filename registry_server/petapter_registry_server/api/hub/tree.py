"""Trees: what a commit holds, folder by folder or path by path."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from petapter_registry_server.api.addresses import next_page
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_object, small_body
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.clock import hub_date
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.reading import CommitLine
from petapter_registry_server.services.revisions import At
from petapter_registry_server.tree import Folder, TreeFile, pointer

router = APIRouter()

_PAGE = 1000
_MAX_PATHS = 1000


class TreeQuery:
    """Which part of a tree a client wants; `cursor` is the last path of the page before."""

    def __init__(
        self,
        *,
        recursive: Annotated[bool, Query()] = False,
        expand: Annotated[bool, Query()] = False,
        limit: Annotated[int, Query(ge=1)] = _PAGE,
        cursor: Annotated[str, Query()] = "",
    ) -> None:
        self.recursive = recursive
        self.expand = expand
        self.limit = min(limit, _PAGE)
        self.cursor = cursor


@router.get("/api/models/{namespace}/{name}/tree/{revision}")
@router.get("/api/models/{namespace}/{name}/tree/{revision}/{folder:path}")
def list_tree(
    request: Request,
    at: Annotated[At, Depends(revision_of)],
    query: Annotated[TreeQuery, Depends()],
    caller: CurrentCaller,
    services: AllServices,
) -> JSONResponse:
    """What lies in a folder of a commit (by default its root), or anywhere below it."""
    folder = unquote(request.path_params.get("folder", "")).strip("/")
    oid, below = services.reading.tree(caller, at, folder)
    depth = folder.count("/") + 1 if folder else 0
    listed = below if query.recursive else [entry for entry in below if entry.path.count("/") == depth]
    rest = [entry for entry in listed if entry.path > query.cursor]
    page = rest[: query.limit]
    headers = next_page(request, cursor=page[-1].path) if len(rest) > len(page) else {}
    last = services.reading.last_changes(caller, At(at.repo_id, oid)) if query.expand else {}
    return JSONResponse([_entry(entry, last) for entry in page], headers={**headers, "X-Repo-Commit": oid})


@router.post("/api/models/{namespace}/{name}/paths-info/{revision}")
def paths_info(
    request: Request,
    at: Annotated[At, Depends(revision_of)],
    body: Annotated[bytes, Depends(small_body)],
    caller: CurrentCaller,
    services: AllServices,
) -> list[dict[str, Any]]:
    """The files and folders among some paths; those that do not exist are left out."""
    paths, expand = _asked_paths(request, body)
    found = services.reading.paths(caller, at, paths)
    last = services.reading.last_changes(caller, at) if expand else {}
    return [_entry(entry, last) for entry in found]


def _entry(entry: TreeFile | Folder, last_changes: Mapping[str, CommitLine]) -> dict[str, Any]:
    """`oid` is git's id of the blob or tree; clients compare it with their own files."""
    shape: dict[str, Any] = {"path": entry.path, "oid": entry.git_oid}
    if isinstance(entry, TreeFile):
        shape |= {"type": "file", "size": entry.size}
        if entry.is_apart:
            size = len(pointer(entry.sha256, entry.size))
            shape["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": size}
    else:
        shape |= {"type": "directory", "size": 0}
    if last := last_changes.get(entry.path):
        shape["lastCommit"] = {"id": last.oid, "title": last.title, "date": hub_date(last.created_ms)}
    return shape


def _asked_paths(request: Request, body: bytes) -> tuple[list[str], bool]:
    """Paths and `expand`: Python clients send a form, JavaScript clients JSON."""
    if request.headers.get("content-type", "").startswith("application/json"):
        document = json_object(body)
        paths, expand = document.get("paths"), document.get("expand") is True
    else:
        form = parse_qs(body.decode("utf-8", "replace"))
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() in {"true", "1"}
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or len(paths) > _MAX_PATHS or not all(isinstance(path, str) for path in paths):
        raise InvalidRequestError(f"paths must be up to {_MAX_PATHS} texts")
    return paths, expand
