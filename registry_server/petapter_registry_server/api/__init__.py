"""HTTP: thin routes over the services."""

from fastapi import Depends, FastAPI

from petapter_registry_server.api import health, metrics, modules
from petapter_registry_server.api.dependencies import admit
from petapter_registry_server.api.hub import (
    files,
    gating,
    history,
    identity,
    lfs,
    models,
    not_offered,
    references,
    repositories,
    tree,
    upload,
    xet,
)
from petapter_registry_server.api.modules import openapi
from petapter_registry_server.api.people import (
    audit,
    devices,
    grants,
    oauth,
    organisations,
    publishers,
    tokens,
    webhooks,
)
from petapter_registry_server.api.route_policy import check_declared

_PEOPLE = (organisations, grants, tokens, publishers, oauth, devices, webhooks, audit)
_HUB = (models, identity, repositories, tree, history, references, upload, lfs, xet, gating, files)
PARTS = (*_HUB, *modules.PARTS, *_PEOPLE, health, metrics)
"""The files with routes that do something; what is asked for most comes first."""


def add_routes(app: FastAPI) -> None:
    """Add all routes of the registry, each behind the guard; the catch-alls of `not_offered` come last.

    They go to the application itself: FastAPI looks through the routes again at every level of routers in routers.

    Raises:
        LookupError: A route is not declared in route_policy.py.
    """
    parts = (*PARTS, not_offered)
    check_declared(part.router for part in parts)
    for part in parts:
        app.include_router(part.router, dependencies=[Depends(admit)])
    app.state.description = openapi.description_of(openapi.native_routes(part.router for part in parts))
