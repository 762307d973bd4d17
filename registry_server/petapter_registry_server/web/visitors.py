"""Who looks at a page: the guard of all pages, which knows cookies where the guard of the API knows tokens."""

import secrets
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar
from urllib.parse import parse_qs

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, count_request, small_body
from petapter_registry_server.api.route_policy import need_of
from petapter_registry_server.errors import FormRefusedError, InvalidRequestError, LoginEndedError
from petapter_registry_server.services.callers import ANONYMOUS, Caller
from petapter_registry_server.services.web_sessions import WebSession
from petapter_registry_server.services.wired import Services
from petapter_schemas.messages import first_problem

PROOF = "proof"
"""The field of every form that shows that it came from a page of this browser."""

_SAFE = frozenset({"GET", "HEAD"})
_MAX_FIELDS = 50

Form = TypeVar("Form", bound=BaseModel)


class Fields(BaseModel):
    """The fields of a form."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)


@dataclass(frozen=True)
class Visitor:
    """Somebody at a page.

    Attributes:
        caller: Held to what the route declares.
        whole: The same without that, to know which buttons to show.
        anchor: What proofs of forms are bound to.
        new_anchor: Whether the browser does not have the anchor yet.
        session: The login; None where nobody is logged in.
    """

    caller: Caller
    whole: Caller
    anchor: str
    new_anchor: bool = False
    session: WebSession | None = None

    @property
    def is_known(self) -> bool:
        """Whether somebody is logged in."""
        return not self.whole.is_anonymous


async def form_fields(request: Request) -> dict[str, str]:
    """The fields that a form sent, the last of each name; nothing for requests that change nothing."""
    if request.method in _SAFE:
        return {}
    body = (await small_body(request)).decode("utf-8", "replace")
    try:
        sent = parse_qs(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidRequestError(f"the form has more than {_MAX_FIELDS} fields") from error
    return {name: values[-1] for name, values in sent.items()}


SentFields = Annotated[dict[str, str], Depends(form_fields)]


def admitted_visitor(request: Request, fields: SentFields, services: AllServices) -> Visitor:
    """The visitor of a page, who may do what its route declares; forms from elsewhere are refused.

    Raises:
        FormRefusedError: The request changes something and was not sent by a page of this registry.
        LoginEndedError: The browser's login has ended.
        PetapterError: As `Access.admit`.
    """
    need = need_of(request)
    changes = request.method not in _SAFE
    if changes:
        _check_origin(request)
    visitor = _visitor(request, services, must_last=need.resource != "public")
    request.state.visitor = visitor
    caller = services.access.admit(visitor.whole, need)
    if changes:
        services.web_sessions.check_form(visitor.anchor, fields.get(PROOF, ""))
    held = replace(visitor, caller=caller)
    request.state.visitor = held
    return held


CurrentVisitor = Annotated[Visitor, Depends(admitted_visitor)]


def read_form(fields: dict[str, str], form: type[Form]) -> Form:
    """The fields as a form's value.

    Raises:
        InvalidRequestError: They are none.
    """
    try:
        return form.model_validate({name: value for name, value in fields.items() if value})
    except ValidationError as error:
        raise InvalidRequestError(f"the form: {first_problem(error)}") from error


def session_cookie(request: Request) -> str:
    """The name of the cookie of a login; over https no other host and no plain page can set it."""
    return "__Host-petapter" if request.url.scheme == "https" else "petapter"


def form_cookie(request: Request) -> str:
    """The name of the cookie that proofs are bound to where nobody is logged in."""
    return f"{session_cookie(request)}-form"


def sign_in_cookie(request: Request) -> str:
    """The name of the cookie that a browser keeps while it is at the identity provider."""
    return f"{session_cookie(request)}-sign-in"


def _visitor(request: Request, services: Services, *, must_last: bool) -> Visitor:
    """Whoever sent the request; where it does not matter who, an ended login is none."""
    cookie = request.cookies.get(session_cookie(request))
    session: WebSession | None = None
    try:
        session = services.web_sessions.read(cookie) if cookie else None
        caller = services.web_sessions.caller(session) if session else services.access.anonymous()
    except LoginEndedError:
        if must_last:
            count_request(services, ANONYMOUS, request)
            raise
        session, caller = None, services.access.anonymous()
    count_request(services, caller, request)
    if session is not None:
        return Visitor(caller, caller, session.id, session=session)
    nonce = request.cookies.get(form_cookie(request), "")
    return Visitor(caller, caller, nonce or secrets.token_urlsafe(16), new_anchor=not nonce)


def _check_origin(request: Request) -> None:
    """Browsers say where a form was sent from; what does not say so is no browser."""
    origin = request.headers.get("origin")
    if origin != address_of(request):
        raise FormRefusedError(
            "this form was sent from another site, or from no page at all: open the page of this registry and send it "
            "from there"
        )
