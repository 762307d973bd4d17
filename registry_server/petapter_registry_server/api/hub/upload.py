"""Uploads: check the card, announce the files, send the commit."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.api.receiving import save_body
from petapter_registry_server.card import read_card
from petapter_registry_server.errors import ContentRefusedError, NotOfferedError
from petapter_registry_server.services.publishing import Announced
from petapter_registry_server.services.revisions import At

router = APIRouter()

_MAX_ANNOUNCED = 1000


class CardText(Body):
    """A README.md to check."""

    content: str


class AnnouncedFile(Body):
    """A file that a client is about to send."""

    path: str
    size: int = Field(ge=0)


class Announcement(Body):
    """The files that a client is about to send."""

    files: list[AnnouncedFile] = Field(max_length=_MAX_ANNOUNCED)
    ignore_rules: str | None = Field(default=None, alias="gitIgnore")


def _refuse_pull_request(create_pr: Annotated[bool, Query()] = False) -> None:  # noqa: FBT002 (a query parameter)
    if create_pr:
        raise NotOfferedError("this registry has no pull requests: commit to a branch instead")


@router.post("/api/validate-yaml")
def validate_yaml(card: Annotated[CardText, Depends(json_body(CardText))]) -> JSONResponse:
    """Whether the metadata of a card can be read; clients need JSON in either case."""
    try:
        read_card(card.content)
    except ContentRefusedError as error:
        problem = {"message": str(error)}
        return JSONResponse({"error": str(error), "errors": [problem], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": []})


@router.post("/api/models/{namespace}/{name}/preupload/{revision}", dependencies=[Depends(_refuse_pull_request)])
def preupload(
    at: Annotated[At, Depends(revision_of)],
    announced: Annotated[Announcement, Depends(json_body(Announcement))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, list[dict[str, Any]]]:
    """How to send each file, and what lies there now, so that unchanged files stay at home."""
    files = [Announced(file.path, file.size) for file in announced.files]
    plans = services.publishing.announce(caller, at, files, announced.ignore_rules)
    return {
        "files": [
            {
                "path": plan.path,
                "uploadMode": "lfs" if plan.apart else "regular",
                "shouldIgnore": plan.ignored,
                **({"oid": plan.oid} if plan.oid else {}),
            }
            for plan in plans
        ]
    }


@router.post("/api/models/{namespace}/{name}/commit/{revision}", dependencies=[Depends(_refuse_pull_request)])
async def commit(
    request: Request, at: Annotated[At, Depends(revision_of)], caller: CurrentCaller, services: AllServices
) -> dict[str, Any]:
    """Publish a commit; its body is streamed to scratch and checked in a worker thread."""
    publishing = services.publishing
    await run_in_threadpool(publishing.check_may_commit, caller, at)
    with publishing.scratch() as scratch:
        body = scratch / "body.ndjson"
        await save_body(request, body, publishing.check_body)
        published = await run_in_threadpool(publishing.commit, caller, at, body, scratch)
    url = f"{address_of(request)}/{published.full_name}/commit/{published.oid}"
    return {"success": True, "commitOid": published.oid, "commitUrl": url, "hookOutput": ""}
