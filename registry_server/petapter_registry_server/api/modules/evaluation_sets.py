"""Evaluation sets: list, show, publish, download; hide, and take rows back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_body
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.api.receiving import save_body
from petapter_registry_server.db.evaluation_sets import SetOrder
from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.evaluation_sets import MAX_PAGE, SetName, SetQuestion
from petapter_schemas.evaluation_api import (
    EvaluationSetDetail,
    EvaluationSetFacts,
    EvaluationSetPage,
    EvaluationSetSettings,
)
from petapter_schemas.evaluation_rows import ROWS_FILE
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.registry_api import API

router = APIRouter(prefix=API, tags=["evaluation sets"], responses=PROBLEMS)

_PARAMETERS = frozenset({"text", "namespace", "rows", "sort", "limit", "cursor"})
_NDJSON = {"application/x-ndjson": {"schema": {"type": "string", "format": "binary"}}}
_PUBLICATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "evaluation-set.json on one line, followed by rows.jsonl or by nothing.",
        "content": _NDJSON,
    }
}


def refuse_unknown(request: Request) -> None:
    """A misspelt filter would otherwise find everything."""
    if unknown := sorted(set(request.query_params) - _PARAMETERS):
        raise InvalidRequestError(f"parameter {unknown[0][:40]!r} is unknown: use {', '.join(sorted(_PARAMETERS))}")
    if any("\0" in value for value in request.query_params.values()):
        raise InvalidRequestError("a zero byte is no text")


class SetsQuery:
    """Which sets to list, and in which order."""

    def __init__(
        self,
        text: Annotated[str, Query(max_length=500, description="Words that its words begin with.")] = "",
        namespace: Annotated[str | None, Query(max_length=200)] = None,
        rows: Annotated[str, Query(max_length=64, description="How the sha256 of its rows begins.")] = "",
        sort: Annotated[SetOrder, Query(description="Newest first, or by name.")] = "updated",
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
        cursor: Annotated[str | None, Query(max_length=500)] = None,
    ) -> None:
        self.question = SetQuestion(text, namespace, rows, sort, limit, cursor)


def _set_name(namespace: Segment, name: Segment) -> str:
    return f"{namespace}/{name}"


def _version(namespace: Segment, name: Segment, version: Segment) -> SetName:
    return SetName(f"{namespace}/{name}", version)


@router.get("/evalsets", dependencies=[Depends(refuse_unknown)])
def list_evaluation_sets(
    query: Annotated[SetsQuery, Depends()], caller: CurrentCaller, services: AllServices
) -> EvaluationSetPage:
    """Evaluation sets by words, namespace or the digest of their rows, each at its newest version."""
    return services.evaluation_sets.search(caller, query.question)


@router.post("/evalsets/{namespace}", openapi_extra=_PUBLICATION)
async def publish_evaluation_set(
    request: Request,
    namespace: Segment,
    caller: CurrentCaller,
    services: AllServices,
    private: Annotated[bool, Query(description="Whether a new set is for its namespace alone.")] = False,  # noqa: FBT002 (a query parameter)
) -> EvaluationSetFacts:
    """Publish a version of an evaluation set, with its rows or without; the same one again changes nothing."""
    publishing = services.publishing_sets
    await run_in_threadpool(publishing.check_may_publish, caller, namespace)
    with publishing.scratch() as scratch:
        body = scratch / "body.ndjson"
        await save_body(request, body, publishing.check_body)
        return await run_in_threadpool(publishing.publish, caller, namespace, body, private=private)


@router.get("/evalsets/{namespace}/{name}")
def show_evaluation_set(
    full_name: Annotated[str, Depends(_set_name)], caller: CurrentCaller, services: AllServices
) -> EvaluationSetDetail:
    """All versions of a set, the highest first."""
    return services.evaluation_sets.detail(caller, full_name)


@router.get("/evalsets/{namespace}/{name}/versions/{version}")
def read_document(
    version: Annotated[SetName, Depends(_version)], caller: CurrentCaller, services: AllServices
) -> EvaluationSetSpec:
    """The evaluation-set.json of a version, whose canonical JSON has its digest."""
    return services.evaluation_sets.document(caller, version)


@router.get(
    "/evalsets/{namespace}/{name}/versions/{version}/rows",
    response_class=Response,
    responses={200: {"description": "rows.jsonl", "content": _NDJSON}},
)
def download_rows(
    version: Annotated[SetName, Depends(_version)], caller: CurrentCaller, services: AllServices
) -> Response:
    """The rows.jsonl of a version; a browser must never run what somebody uploaded, and saves it."""
    rows = services.evaluation_sets.rows(caller, version)
    headers = {
        "Content-Length": str(rows.size),
        "ETag": f'"{rows.blob}"',
        "Content-Disposition": f'attachment; filename="{rows.spec.name}-{rows.spec.version}-{ROWS_FILE}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(services.evaluation_sets.open(rows), media_type="application/x-ndjson", headers=headers)


@router.delete("/evalsets/{namespace}/{name}/versions/{version}/rows")
def withdraw_rows(
    version: Annotated[SetName, Depends(_version)], caller: CurrentCaller, services: AllServices
) -> EvaluationSetFacts:
    """Take back the rows of a version; its name, its digests and the figures on it stay."""
    return services.evaluation_sets.withdraw_rows(caller, version)


@router.put("/evalsets/{namespace}/{name}/settings")
def set_visibility(
    full_name: Annotated[str, Depends(_set_name)],
    new: Annotated[EvaluationSetSettings, Depends(json_body(EvaluationSetSettings))],
    caller: CurrentCaller,
    services: AllServices,
) -> EvaluationSetDetail:
    """Show a set to all who may see what is public, or to its namespace alone."""
    services.evaluation_sets.set_private(caller, full_name, private=new.private)
    return services.evaluation_sets.detail(caller, full_name)
