"""The commits of a repository."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import StringConstraints

from petapter_registry_server.api.addresses import next_page
from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.clock import hub_date
from petapter_registry_server.services.commit_lines import MAX_TITLE
from petapter_registry_server.services.reading import CommitLine
from petapter_registry_server.services.revisions import At

router = APIRouter()

_PAGE = 100


class HistoryQuery:
    """Which page of a history; `after` is the id that it begins with."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1)] = _PAGE,
        after: Annotated[str | None, Query()] = None,
        expand: Annotated[list[str] | None, Query()] = None,
        expand_js: Annotated[list[str] | None, Query(alias="expand[]")] = None,
    ) -> None:
        self.limit = min(limit, _PAGE)
        self.after = after
        self.formatted = "formatted" in [*(expand or []), *(expand_js or [])]


@router.get("/api/models/{namespace}/{name}/commits/{revision}")
def list_commits(
    request: Request,
    at: Annotated[At, Depends(revision_of)],
    query: Annotated[HistoryQuery, Depends()],
    caller: CurrentCaller,
    services: AllServices,
) -> JSONResponse:
    """A commit and its ancestors, newest first."""
    begin = At(at.repo_id, query.after or at.revision)
    chain = services.reading.history(caller, begin, limit=query.limit + 1)
    headers = next_page(request, after=chain[-1].oid) if len(chain) > query.limit else {}
    return JSONResponse([_commit(line, query) for line in chain[: query.limit]], headers=headers)


class Squash(Body):
    """What to say of the one commit that is left."""

    message: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE)] = "Squashed"


@router.post("/api/models/{namespace}/{name}/super-squash/{revision}")
def squash(
    at: Annotated[At, Depends(revision_of)],
    asked: Annotated[Squash, Depends(json_body(Squash))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, str]:
    """Forget the history of a branch."""
    return {"commitOid": services.publishing.squash(caller, at, asked.message)}


def _commit(line: CommitLine, query: HistoryQuery) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": line.oid,
        "title": line.title,
        "message": line.message,
        "date": hub_date(line.created_ms),
        "authors": [{"user": line.author}],
    }
    if query.formatted:
        shape["formatted"] = {"title": line.title, "message": line.message}  # clients escape it themselves
    return shape
