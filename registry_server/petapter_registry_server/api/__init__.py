"""HTTP: thin routes over the services."""

from fastapi import APIRouter

from petapter_registry_server.api import health
from petapter_registry_server.api.hub import (
    files,
    history,
    identity,
    models,
    not_offered,
    references,
    repositories,
    tree,
    upload,
)


def routes() -> APIRouter:
    """All routes of the registry; the catch-alls of `not_offered` come last."""
    router = APIRouter()
    parts = (health, identity, repositories, models, tree, history, references, upload, files, not_offered)
    for part in parts:
        router.include_router(part.router)
    return router
