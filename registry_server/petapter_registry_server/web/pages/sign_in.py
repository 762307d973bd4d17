"""To sign in with the identity provider, and to link what it knows one as with one's user."""

from typing import Annotated

from fastapi import Path, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import StringConstraints

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.errors import InvalidRequestError, SignInError
from petapter_registry_server.services.identities import check_may_link
from petapter_registry_server.services.identity_provider import Person
from petapter_registry_server.services.roles import reaches
from petapter_registry_server.services.sign_in import LIFETIME_S, Begun, ProviderAnswer, SignIn
from petapter_registry_server.services.web_sessions import WebSession
from petapter_registry_server.services.wired import Services
from petapter_registry_server.web.pages.login import SEE_OTHER, local_path, logged_in
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import (
    CurrentVisitor,
    Fields,
    SentFields,
    Visitor,
    read_form,
    sign_in_cookie,
)

router = page_router()

_MAX_ID = 1 << 31
_MAX_OFFER = 4000
_CALLBACK = "/web/oidc/callback"


class LinkForm(Fields):
    """An identity that was offered to this login."""

    offer: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_OFFER)]


@router.get("/web/oidc/login")
def begin_login(request: Request, visitor: CurrentVisitor, services: AllServices, next: str = "/") -> Response:  # noqa: A002, ARG001
    """Send the browser to the identity provider, to log in."""
    begun = _sign_in(services).begin(_back(request), local_path(next))
    return _led_away(request, begun)


@router.get("/web/oidc/link")
def begin_link(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Send the browser to the identity provider, to link what it knows the visitor as."""
    check_may_link(visitor.caller)
    begun = _sign_in(services).begin(_back(request), "/web/identities", linking=_session(visitor))
    return _led_away(request, begun)


@router.get("/web/oidc/callback")
def finish(  # noqa: PLR0913, PLR0917 (what OpenID Connect puts into the address)
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
    state: str | None = None,
    code: str | None = None,
    error: str | None = None,
    iss: str | None = None,
) -> Response:
    """Take the browser back from the identity provider: begin a login, or ask whether to link."""
    signing_in = _sign_in(services)
    kept = request.cookies.get(sign_in_cookie(request), "")
    finished = signing_in.finish(kept, ProviderAnswer(state, code, error, iss), _back(request))
    if finished.linking is None:
        cookie = services.web_sessions.begin_for(signing_in.enter(finished.person))
        response = logged_in(request, cookie, local_path(finished.following))
    else:
        response = _ask_to_link(request, visitor, signing_in, finished.person, login=finished.linking)
    response.delete_cookie(sign_in_cookie(request), path="/", secure=_is_secure(request), httponly=True)
    return response


@router.get("/web/identities")
def identities_page(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """What the visitor can sign in as."""
    return page(
        request,
        "identities.html",
        lines=services.identities.list_own(visitor.caller),
        provider=services.sign_in.label if services.sign_in else None,
        may_change=reaches(visitor.whole.most, "admin"),
        may_link=visitor.whole.is_unlimited,
    )


@router.post("/web/identities")
def link(fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Let an identity sign in as the visitor, who saw which one it is."""
    check_may_link(visitor.caller)
    form = read_form(fields, LinkForm)
    issuer, subject = _sign_in(services).taken(form.offer, _session(visitor))
    services.identities.link(visitor.caller, issuer, subject)
    return RedirectResponse("/web/identities", status_code=SEE_OTHER)


@router.post("/web/identities/{identity}/remove")
def unlink(
    identity: Annotated[int, Path(ge=1, le=_MAX_ID)], visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Let one of the visitor's identities sign in no more."""
    services.identities.unlink(visitor.caller, identity)
    return RedirectResponse("/web/identities", status_code=SEE_OTHER)


def _ask_to_link(request: Request, visitor: Visitor, signing_in: SignIn, person: Person, *, login: str) -> Response:
    session = visitor.session
    if session is None or session.id != login:
        raise SignInError("the login that this identity was to be linked with has ended: log in and begin again")
    named = person.claims.get("preferred_username") or person.claims.get("email")
    return page(
        request,
        "link.html",
        provider=signing_in.label,
        issuer=person.issuer,
        subject=person.subject,
        named=named if isinstance(named, str) else None,
        offer=signing_in.offer(person, session),
    )


def _sign_in(services: Services) -> SignIn:
    if services.sign_in is None:
        raise InvalidRequestError("this registry has no identity provider: log in with a token")
    return services.sign_in


def _session(visitor: Visitor) -> WebSession:
    if visitor.session is None:
        raise SignInError("nobody is logged in here: log in and begin again")
    return visitor.session


def _back(request: Request) -> str:
    """Where the provider sends the browser back to; the provider knows this address and takes no other."""
    return f"{address_of(request)}{_CALLBACK}"


def _led_away(request: Request, begun: Begun) -> Response:
    """The cookie must come back with the browser, which another site sends: so it is not as strict as that of forms."""
    response = RedirectResponse(begun.address, status_code=SEE_OTHER, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        sign_in_cookie(request),
        begun.cookie,
        max_age=LIFETIME_S,
        httponly=True,
        secure=_is_secure(request),
        samesite="lax",
        path="/",
    )
    return response


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
