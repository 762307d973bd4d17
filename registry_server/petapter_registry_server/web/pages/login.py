"""To log in with a token (sign_in.py has the other way), to log out, and to let a program log in that shows a code."""

from typing import Annotated, Literal

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import StringConstraints

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.errors import InvalidRequestError, InvalidTokenError
from petapter_registry_server.services.web_sessions import LIFETIME_S
from petapter_registry_server.services.wired import Services
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import (
    CurrentVisitor,
    Fields,
    SentFields,
    form_cookie,
    read_form,
    session_cookie,
)

router = page_router()

_MAX_TOKEN = 500
SEE_OTHER = 303


class LoginForm(Fields):
    """A token, and the page to go on with."""

    token: Annotated[str, StringConstraints(max_length=_MAX_TOKEN)] = ""
    next: str = "/"


class DeviceForm(Fields):
    """The code that a program shows, and what becomes of it."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    decision: Literal["approve", "deny"]


@router.get("/web/login")
def login_page(
    request: Request,
    visitor: CurrentVisitor,  # noqa: ARG001 (the guard)
    services: AllServices,
    next: str = "/",  # noqa: A002 (in the address)
) -> Response:
    """Ask for a token, or offer the identity provider."""
    return _page(request, services, local_path(next))


@router.post("/web/login")
def log_in(request: Request, fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:  # noqa: ARG001
    """Begin a login with a token."""
    form = read_form(fields, LoginForm)
    following = local_path(form.next)
    if not form.token:
        raise InvalidRequestError("the field 'token' is empty: paste a token of yours")
    try:
        cookie = services.web_sessions.begin(form.token)
    except InvalidTokenError as error:
        return _page(request, services, following, status=401, problem=str(error))
    return logged_in(request, cookie, following)


@router.post("/web/logout")
def log_out(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """End the login of this browser, whoever else has its cookie."""
    if visitor.session is not None:
        services.web_sessions.end(visitor.session)
    response = RedirectResponse("/", status_code=SEE_OTHER)
    response.delete_cookie(session_cookie(request), path="/", secure=request.url.scheme == "https", httponly=True)
    return response


@router.get("/web/devices")
def device_page(request: Request, visitor: CurrentVisitor) -> Response:  # noqa: ARG001 (the guard)
    """Ask for the code that a program shows."""
    return page(request, "devices.html", done=None)


@router.post("/web/devices")
def decide(request: Request, fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Let the program that shows a code act as the visitor, or not."""
    form = read_form(fields, DeviceForm)
    if form.decision == "approve":
        services.devices.approve(visitor.caller, form.code)
        done = "The program that shows this code is logged in as you. You can close this page."
    else:
        services.devices.deny(visitor.caller, form.code)
        done = "The program that shows this code was sent away."
    return page(request, "devices.html", done=done)


def logged_in(request: Request, cookie: str, following: str) -> Response:
    """Let a browser keep the cookie of its login, and go on."""
    response = RedirectResponse(following, status_code=SEE_OTHER)
    secure = request.url.scheme == "https"
    response.set_cookie(
        session_cookie(request), cookie, max_age=LIFETIME_S, httponly=True, secure=secure, samesite="lax", path="/"
    )
    response.delete_cookie(form_cookie(request), path="/", secure=secure, httponly=True, samesite="strict")
    return response


def local_path(path: str) -> str:
    """A path of this registry, or its first page in the place of any other address."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"


def _page(
    request: Request, services: Services, following: str, *, status: int = 200, problem: str | None = None
) -> Response:
    label = services.sign_in.label if services.sign_in else None
    return page(request, "login.html", status=status, next=following, problem=problem, provider=label)
