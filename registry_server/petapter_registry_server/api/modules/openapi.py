"""The description of the native API for programs."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from petapter_registry_server.api.modules.bodies import add_bodies
from petapter_schemas.registry_api import API

router = APIRouter(prefix=API, tags=["description"])


@router.get("/openapi.json")
def describe(request: Request) -> dict[str, Any]:
    """OpenAPI 3.1, of the routes below `/api/petapter/v1` alone."""
    description: dict[str, Any] = request.app.state.description
    return description


def native_routes(routers: Iterable[APIRouter]) -> list[APIRoute]:
    """The routes of the native API among others."""
    routes = (route for router in routers for route in router.routes)
    return [route for route in routes if isinstance(route, APIRoute) and route.path.startswith(f"{API}/")]


def description_of(routes: Sequence[APIRoute]) -> dict[str, Any]:
    """The description of these routes."""
    document = get_openapi(
        title="petapter registry",
        version="1",
        routes=routes,
        description="Modules by labels, figures and backbone; versions, channels, and what runs where; evaluation "
        "sets, and how modules were measured on them; people, tokens, webhooks and the audit.",
    )
    add_bodies(document, routes)
    return document
