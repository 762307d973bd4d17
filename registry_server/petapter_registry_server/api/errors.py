"""The one table from errors to answers: status, X-Error-Code, X-Error-Message, and the JSON body clients show."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from petapter_registry_server import errors
from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.passing import pass_through
from petapter_registry_server.api.problems import Answer, HubAnswer, native_or_hub
from petapter_registry_server.api.request_log import REQUEST_ID
from petapter_registry_server.api.system_errors import told
from petapter_schemas.errors import InputError, ModuleError, PetapterError

_ANSWERS: dict[type[PetapterError], tuple[int, str | None]] = {
    errors.RepositoryNotFoundAnonymouslyError: (401, "RepoNotFound"),
    errors.RepositoryNotFoundError: (404, "RepoNotFound"),
    errors.NameTakenError: (409, None),
    errors.GatedAnonymouslyError: (401, "GatedRepo"),
    errors.GatedError: (403, "GatedRepo"),
    errors.RevisionNotFoundError: (404, "RevisionNotFound"),
    errors.EntryNotFoundError: (404, "EntryNotFound"),
    errors.EvaluationSetNotFoundAnonymouslyError: (401, "EvaluationSetNotFound"),
    errors.EvaluationSetNotFoundError: (404, "EvaluationSetNotFound"),
    errors.RowsNotHereError: (404, "RowsNotHere"),
    errors.NamespaceNotFoundError: (404, None),
    errors.OrganisationNotFoundError: (404, None),
    errors.UserNotFoundError: (404, None),
    errors.EvaluationNotFoundError: (404, None),
    errors.WebhookNotFoundError: (404, None),
    errors.LastAdminError: (409, None),
    errors.InvalidTokenError: (401, None),
    errors.LoginRequiredError: (401, None),
    errors.FormRefusedError: (403, None),
    errors.PermissionDeniedError: (403, None),
    errors.RepositoryExistsError: (409, None),
    errors.ReferenceExistsError: (409, None),
    errors.EvaluationSetExistsError: (409, None),
    errors.NameRetiredError: (410, None),
    errors.StaleParentError: (412, None),
    errors.TooLargeError: (413, None),
    errors.RangeNotSatisfiableError: (416, None),
    errors.UnsafePathError: (422, None),
    errors.TooManyRequestsError: (429, None),
    errors.QuotaExceededError: (403, None),
    errors.BlobUnavailableError: (500, None),
    errors.SignInRefusedError: (403, None),
    errors.IdentityProviderError: (502, None),
    errors.UpstreamError: (502, None),
    errors.NotOfferedError: (501, None),
    errors.StorageFullError: (507, None),
    errors.PassingError: (503, None),
    errors.RegistryError: (400, None),
    InputError: (400, None),
    ModuleError: (400, None),
}
_MAX_HEADER = 500


def add_error_answers(app: FastAPI, formed: Callable[[HubAnswer], Answer] = native_or_hub) -> None:
    """Let every error of the services, and every one of the framework, answer in the form that was asked for.

    Args:
        app: The application.
        formed: Gives an answer in the Hub's form the form of the API, or of the pages, that was asked.
    """
    app.add_exception_handler(errors.RepositoryMovedError, _lead_on)
    app.add_exception_handler(errors.ElsewhereError, _look_elsewhere)
    app.add_exception_handler(PetapterError, formed(_answer_ours))
    app.add_exception_handler(OSError, formed(_answer_system))
    app.add_exception_handler(RequestValidationError, formed(_answer_bad_parameters))
    app.add_exception_handler(HTTPException, formed(_answer_framework))
    app.add_exception_handler(ClientDisconnect, formed(_answer_nobody))
    app.add_exception_handler(Exception, formed(_answer_bug))


def error_answer(status: int, message: str, *, headers: Mapping[str, str], body: Mapping[str, Any]) -> JSONResponse:
    """An answer in the Hub's form: `{"error": message}` and the message again as a header, for HEAD."""
    shown = {"X-Error-Message": header_text(message), **headers}
    return JSONResponse({"error": message, **body}, status_code=status, headers=shown)


def header_text(message: str) -> str:
    """A message as every client can read a header: one line of printable ASCII without spaces at its ends.

    Latin-1 would be allowed, and some clients take it for UTF-8 and fail; the body has the message as it is.
    """
    visible = re.sub(r"[\x00-\x20\x7f-\xa0]+", " ", message.replace("…", "..."))
    return visible.encode("ascii", "replace").decode("ascii")[:_MAX_HEADER].strip()


def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    status, code = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    headers = {"X-Error-Code": code} if code else {}
    body: dict[str, str] = {}
    if isinstance(error, errors.EntryNotFoundError):
        headers["X-Repo-Commit"] = error.commit_oid
    if isinstance(error, errors.RangeNotSatisfiableError):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, errors.TooManyRequestsError):
        headers |= _rate_limit_headers(error)
    if isinstance(error, errors.OAuthError):
        body = {"error": error.code, "error_description": str(error)}
    if isinstance(error, errors.PassingError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.RepositoryExistsError):
        body["url"] = f"{address_of(request)}/{error.full_name}"  # huggingface_hub reads it with exist_ok=True
    return error_answer(status, str(error), headers=headers, body=body)


def _lead_on(request: Request, error: Exception) -> Response:
    """A redirect that keeps method, body and token: relative, so that clients see the same host."""
    named = [request.path_params.get(part) for part in ("namespace", "name")]
    if not isinstance(error, errors.RepositoryMovedError) or None in named:  # the name stands in a body
        return _answer_ours(request, error)
    path = request.scope["path"].replace("/{}/{}".format(*named), f"/{error.full_name}", 1)
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(status_code=307, headers={"Location": f"{path}{query}"})


async def _look_elsewhere(request: Request, error: Exception) -> Response:
    """What the upstream of the read-through proxy answers, or else that there is no such repository."""
    try:
        return await pass_through(request, cast("errors.ElsewhereError", error).repo_id)
    except errors.RegistryError as refusal:
        return _answer_ours(request, refusal)


def _rate_limit_headers(error: errors.TooManyRequestsError) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-09 says and huggingface_hub reads."""
    return {
        "Retry-After": str(error.wait_s),
        "RateLimit": f'"api";r=0;t={error.wait_s}',
        "RateLimit-Policy": f'"fixed window";"api";q={error.limit};w={error.window_s}',
    }


def _answer_bad_parameters(_request: Request, error: Exception) -> JSONResponse:
    problem = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "bad request"}
    where = ".".join(str(part) for part in problem["loc"])
    return error_answer(400, f"{where}: {problem['msg']}", headers={}, body={})


def _answer_framework(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    message = f"{request.method} {request.url.path} is not a route of this registry"
    return error_answer(status, message if status in {404, 405} else str(error), headers=headers, body={})


def _answer_system(request: Request, error: Exception) -> JSONResponse:
    """What the disk refuses is told in one line; every other error of the system is a bug and keeps its traceback."""
    refusal = told(error) if isinstance(error, OSError) else None
    if refusal is None:
        raise error
    return _answer_ours(request, refusal)


def _answer_nobody(_request: Request, _error: Exception) -> JSONResponse:
    return error_answer(400, "the client went away", headers={}, body={})


def _answer_bug(request: Request, _error: Exception) -> JSONResponse:
    """Given outside all of our middleware, so that it has the id of the request from where that was noted."""
    headers = {"X-Request-Id": noted} if (noted := getattr(request.state, REQUEST_ID, None)) else {}
    return error_answer(500, "internal error: the server's log has the details", headers=headers, body={})
