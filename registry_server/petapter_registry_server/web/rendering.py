"""How a page is made: a template, the policy that lets it run nothing but our own scripts, and gzip."""

import gzip
import secrets
from functools import cache
from typing import Any

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from petapter_registry_server.services.wired import Services
from petapter_registry_server.web import formats, static_files
from petapter_registry_server.web.visitors import PROOF, Visitor, form_cookie

_PACK_ABOVE_BYTES = 1000
_PACK_LEVEL = 5

_ON_THE_WAY = "/web/oidc/"
"""Steps of a sign-in; the address of one may hold what the identity provider sent."""

_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 (of a template)
    """A page for the visitor of a request."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    nonce = secrets.token_urlsafe(16)
    proof = _proof(request, visitor)
    text = (
        _environment()
        .get_template(template)
        .render(visitor=visitor, nonce=nonce, proof=proof, proof_field=PROOF, path=_path(request), **values)
    )
    response = _packed(request, text.encode(), status)
    response.headers.update(_headers(nonce))
    if visitor is not None and visitor.new_anchor and f'name="{PROOF}"' in text:
        _keep_anchor(request, response, visitor.anchor)
    return response


def _headers(nonce: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding, Cookie, HX-Request",
    }


def _packed(request: Request, body: bytes, status: int) -> Response:
    if len(body) < _PACK_ABOVE_BYTES or "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(body, status_code=status, media_type="text/html")
    packed = gzip.compress(body, _PACK_LEVEL, mtime=0)
    return Response(packed, status_code=status, media_type="text/html", headers={"Content-Encoding": "gzip"})


def _proof(request: Request, visitor: Visitor | None) -> str:
    services: Services = request.app.state.services
    return services.web_sessions.form_proof(visitor.anchor) if visitor else ""


def _keep_anchor(request: Request, response: Response, anchor: str) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(form_cookie(request), anchor, httponly=True, secure=secure, samesite="strict", path="/")


def _path(request: Request) -> str:
    """Where to come back to after a login: this page, where it can be asked for again."""
    if request.method != "GET" or request.scope["path"].startswith(_ON_THE_WAY):
        return "/"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{request.scope['path']}{query}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("petapter_registry_server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_files.address
    environment.filters.update(formats.FILTERS)
    return environment
