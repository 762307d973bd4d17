"""The one table from errors to answers: a status and `{"error": {"code", "message"}}`, never a text of the caller's."""

import logging
import traceback
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from petapter_schemas import errors
from petapter_schemas.errors import PetapterError


class StartingError(PetapterError):
    """The modules are not loaded yet."""


class TooLargeError(PetapterError):
    """More was sent than one request may hold."""


class TokenError(PetapterError):
    """No token came, or a wrong one."""


class AdminOffError(PetapterError):
    """The service was started without a token for loading and unloading."""


_ANSWERS: dict[type[PetapterError], tuple[int, str]] = {
    StartingError: (503, "starting"),
    errors.ClosedError: (503, "draining"),
    errors.BusyError: (429, "busy"),
    TooLargeError: (413, "too_large"),
    TokenError: (401, "token"),
    AdminOffError: (403, "admin_off"),
    errors.NotLoadedError: (404, "unknown_module"),
    errors.RemoteNotFoundError: (404, "not_on_remote"),
    errors.RemoteError: (502, "remote"),
    errors.BackboneMismatchError: (409, "other_backbone"),
    errors.BackboneError: (422, "backbone"),
    errors.ModuleError: (422, "refused_module"),
    errors.InputError: (422, "bad_request"),
    PetapterError: (500, "failed"),
}
_FRAMEWORK = {404: "no_route", 405: "method", 413: "too_large", 415: "content_type"}
_KNOWN_PLACES = frozenset({"inputs", "module", "text", "fields", "patterns"})
"""Names of our own; what else stands in a path to a problem may come from the caller."""
_INTERNAL = (500, "internal", "internal error: the service's log names the place")
_FRAMES = 6

logger = logging.getLogger(__name__)


def add_error_answers(app: FastAPI) -> None:
    """Let every error answer in the one form."""
    app.add_exception_handler(PetapterError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_bad_body)
    app.add_exception_handler(HTTPException, _answer_framework)


def error_answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the one form."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=dict(headers or {}))


def answer_bug(error: Exception) -> JSONResponse:
    """Log where a bug is, without its message, which may quote a text; the caller hears that there is one."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    logger.error("internal error: %s at %s", type(error).__name__, places)
    return error_answer(*_INTERNAL)


def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    status, code = next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)
    headers: dict[str, str] = {}
    if isinstance(error, errors.BusyError):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, TokenError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, StartingError | errors.ClosedError):
        headers["Retry-After"] = "1"
    request.app.state.metrics.reject(code, status)
    return error_answer(status, code, str(error), headers)


def _answer_bad_body(_request: Request, error: Exception) -> JSONResponse:
    problem = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "bad request"}
    places = [part for part in problem["loc"] if part != "body"]
    if problem["type"] == "json_invalid":
        return error_answer(422, "bad_request", "the body is no JSON")
    shown = ".".join(str(part) if isinstance(part, int) or part in _KNOWN_PLACES else "?" for part in places)
    message = str(problem["msg"]).removeprefix("Value error, ")
    return error_answer(422, "bad_request", f"{shown}: {message}" if shown else f"body: {message}")


def _answer_framework(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = _FRAMEWORK.get(status, "bad_request")
    message = str(error.detail) if isinstance(error, HTTPException) else ""
    if status == 404:  # noqa: PLR2004 (HTTP's number)
        message = "there is no such route: see /openapi.json"
    if status == 413:  # noqa: PLR2004 (likewise)
        request.app.state.metrics.reject(code, status)
    headers = error.headers if isinstance(error, HTTPException) else None
    return error_answer(status, code, message, headers)
