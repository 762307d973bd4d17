"""Routes of pages: a page about somebody stands at the root, so names that the registry keeps for itself are none."""

from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from petapter_schemas.names import RESERVED_NAMESPACES


class PageRoute(APIRoute):
    """A route whose answers are pages, errors too; empty fields of a form that was sent by GET say nothing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """No page is about a namespace that nobody can have: `/api/nowhere` is a route of the API that is missing."""
        match, found = super().matches(scope)
        if match is Match.NONE or not found:
            return match, found
        namespace = found.get("path_params", {}).get("namespace")
        if namespace is not None and namespace.lower() in RESERVED_NAMESPACES:
            return Match.NONE, {}
        return match, {**found, "query_string": _without_empty(scope.get("query_string", b""))}


def page_router() -> APIRouter:
    """A router of pages."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def _without_empty(query: bytes) -> bytes:
    if b"=&" not in query and not query.endswith(b"="):
        return query
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=False, errors="replace")
    return urlencode(pairs).encode()
