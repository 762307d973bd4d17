"""HTTP: thin routes over the services."""

from fastapi import APIRouter, Depends

from petapter_registry_server.api import health, metrics, modules
from petapter_registry_server.api.dependencies import admitted
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
from petapter_registry_server.api.people import audit, devices, grants, oauth, organisations, publishers, tokens
from petapter_registry_server.api.route_policy import check_declared

_PEOPLE = (organisations, grants, tokens, publishers, oauth, devices, audit)
_HUB = (identity, repositories, models, tree, history, references, upload, lfs, xet, gating, files)
PARTS = (health, metrics, *modules.PARTS, *_PEOPLE, *_HUB)
"""The files with routes that do something."""


def routes() -> APIRouter:
    """All routes of the registry, each behind the guard; the catch-alls of `not_offered` come last.

    Raises:
        LookupError: A route is not declared in route_policy.py.
    """
    parts = (*PARTS, not_offered)
    check_declared(part.router for part in parts)
    router = APIRouter(dependencies=[Depends(admitted)])
    for part in parts:
        marks = [Depends(modules.mark)] if part in modules.PARTS else []
        router.include_router(part.router, dependencies=marks)
    return router
