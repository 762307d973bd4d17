"""All routes of pages, and the guard that stands before each."""

from fastapi import Depends, FastAPI

from petapter_registry_server.api.route_policy import check_declared
from petapter_registry_server.web import static_files
from petapter_registry_server.web.cards import Cards
from petapter_registry_server.web.pages import (
    access,
    evaluation_sets,
    evaluations,
    login,
    module,
    namespace,
    organisations,
    search,
    sign_in,
    site,
    tokens,
    webhooks,
)
from petapter_registry_server.web.visitors import admitted_visitor

PAGES = (
    search,
    login,
    sign_in,
    tokens,
    organisations,
    webhooks,
    site,
    evaluation_sets,
    namespace,
    module,
    access,
    evaluations,
)
"""The files with pages; those at fixed addresses come before those about somebody."""

PARTS = (static_files, *PAGES)


def add_routes(app: FastAPI) -> None:
    """Add the pages; the routes of the API come before them.

    Raises:
        LookupError: A route is not declared in route_policy.py.
    """
    check_declared(part.router for part in PARTS)
    app.state.cards = Cards()
    app.include_router(static_files.router)
    for part in PAGES:
        app.include_router(part.router, dependencies=[Depends(admitted_visitor)])
