"""HTTP: thin routes over the services."""

from fastapi import APIRouter

from petapter_registry_server.api import health
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


def routes() -> APIRouter:
    """All routes of the registry; the catch-alls of `not_offered` come last."""
    router = APIRouter()
    reading = (health, identity, repositories, models, tree, history, references, files)
    writing = (upload, lfs, xet, gating, not_offered)
    for part in (*reading, *writing):
        router.include_router(part.router)
    return router
