"""Errors of the native API as RFC 9457 writes them; every other route answers as the Hub does."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from petapter_schemas.registry_api import API, API_HEADER, API_VERSION, Problem

MEDIA_TYPE = "application/problem+json"
_KEPT = (
    "X-Error-Code",
    "X-Error-Message",
    "X-Request-Id",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "WWW-Authenticate",
)

Answer = Callable[[Request, Exception], Response | Awaitable[Response]]
HubAnswer = Callable[[Request, Exception], JSONResponse]

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
    for status in (400, 401, 403, 404)
}
"""What every route of the native API may answer with, for its description."""


def native_or_hub(hub_answer: HubAnswer) -> Answer:
    """The answer to an error, in the form of the API that was asked."""

    def answer(request: Request, error: Exception) -> Response:
        shown = hub_answer(request, error)
        return _problem(request, shown) if request.url.path.startswith(f"{API}/") else shown

    return answer


def _problem(request: Request, answer: JSONResponse) -> JSONResponse:
    body = json.loads(bytes(answer.body))
    problem = Problem(
        title=HTTPStatus(answer.status_code).phrase,
        status=answer.status_code,
        detail=body["error"],
        instance=request.url.path,
    )
    kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
    kept[API_HEADER] = API_VERSION  # answers to errors that nobody expected pass by all middleware
    return JSONResponse(problem.model_dump(), status_code=answer.status_code, headers=kept, media_type=MEDIA_TYPE)
