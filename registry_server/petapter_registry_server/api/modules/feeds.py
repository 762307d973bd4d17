"""Atom feeds of what was published and yanked: of a namespace, and of one module."""

from fastapi import APIRouter, Request, Response

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.atom import MEDIA_TYPE, atom
from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.feeds import Feed
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.registry_api import API

router = APIRouter(
    prefix=f"{API}/feeds",
    tags=["feeds"],
    default_response_class=Response,
    responses={**PROBLEMS, 200: {"description": "An Atom feed (RFC 4287)", "content": {MEDIA_TYPE: {}}}},
)

_NOT_MODIFIED = 304


@router.get("/{namespace}")
def namespace_feed(namespace: Segment, request: Request, caller: CurrentCaller, services: AllServices) -> Response:
    """The modules of a user or an organisation, as far as the caller may see."""
    return _answer(request, services.feeds.of_namespace(caller, namespace))


@router.get("/{namespace}/{name}")
def module_feed(
    namespace: Segment, name: Segment, request: Request, caller: CurrentCaller, services: AllServices
) -> Response:
    """One module."""
    return _answer(request, services.feeds.of_module(caller, f"{namespace}/{name}"))


def _answer(request: Request, feed: Feed) -> Response:
    """The feed, or that it is the one that the caller has."""
    registry = address_of(request)
    body = atom(feed, here=f"{registry}{request.url.path}", registry=registry)
    tag = f'"{sha256_bytes(body)[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    return Response(body, media_type=f"{MEDIA_TYPE}; charset=utf-8", headers=headers)


def _has(known: str, tag: str) -> bool:
    """Whether a caller's If-None-Match names a tag, compared weakly as RFC 9110 says (section 13.1.2)."""
    return known.strip() == "*" or tag in {each.strip().removeprefix("W/") for each in known.split(",")}
