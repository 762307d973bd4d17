"""Errors of pages: the same status and words as the API's, as a page that says what to do next."""

import json
from collections.abc import Awaitable
from http import HTTPStatus

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from petapter_registry_server.api.problems import Answer, HubAnswer, native_or_hub
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import PageRoute
from petapter_registry_server.web.visitors import session_cookie

_KEPT = ("X-Error-Code", "X-Error-Message", "X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy")
_LOGIN_HELPS = frozenset({HTTPStatus.UNAUTHORIZED})


def wants_page(request: Request) -> bool:
    """Whether an error is to be a page: on the routes of pages, and for browsers where no route is known.

    None is known of an address that is no route, and of an error that nobody expected.
    """
    route = request.scope.get("route")
    return isinstance(route, PageRoute) or (route is None and "text/html" in request.headers.get("accept", ""))


def error_page(request: Request, answer: JSONResponse, message: str) -> Response:
    """The page for an error that the API would answer so."""
    status = HTTPStatus(answer.status_code)
    has_ended = status is HTTPStatus.UNAUTHORIZED and session_cookie(request) in request.cookies
    shown = page(
        request,
        "error.html",
        status=status.value,
        title=status.phrase,
        code=status.value,
        message=message,
        login_helps=status in _LOGIN_HELPS,
        has_ended=has_ended,
    )
    for name in _KEPT:
        if name in answer.headers:
            shown.headers[name] = answer.headers[name]
    if has_ended and getattr(request.state, "visitor", None) is None:
        shown.delete_cookie(session_cookie(request), path="/", secure=request.url.scheme == "https", httponly=True)
    return shown


def page_native_or_hub(hub_answer: HubAnswer) -> Answer:
    """The answer to an error in the form that was asked: a page, or as `native_or_hub`."""
    answer_programs = native_or_hub(hub_answer)

    def answer(request: Request, error: Exception) -> Response | Awaitable[Response]:
        if not wants_page(request):
            return answer_programs(request, error)
        shown = hub_answer(request, error)
        message: str = json.loads(bytes(shown.body))["error"]
        return error_page(request, shown, message)

    return answer
