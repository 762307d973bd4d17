"""The description of the native API for programs."""

from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi

from petapter_registry_server.api.modules import (
    compatibility,
    evaluation_sets,
    evaluations,
    leaderboard,
    maintaining,
    module,
    search,
)
from petapter_registry_server.api.modules.bodies import definitions
from petapter_schemas.registry_api import API

router = APIRouter(prefix=API)

DESCRIBED = (search, module, maintaining, compatibility, evaluation_sets, leaderboard, evaluations)
"""The files whose routes are described."""


@router.get("/openapi.json", include_in_schema=False)
def describe() -> dict[str, Any]:
    """OpenAPI 3.1, of the routes below `/api/petapter/v1` alone."""
    return _description()


@cache
def _description() -> dict[str, Any]:
    document = get_openapi(
        title="petapter registry",
        version="1",
        routes=[route for part in DESCRIBED for route in part.router.routes],
        description="Modules by labels, figures and backbone; versions, channels, and what runs where; evaluation "
        "sets, and how modules were measured on them.",
    )
    document["components"]["schemas"].update(definitions())
    return document
