"""The page of a user or an organisation."""

from typing import Annotated

from fastapi import Query, Request, Response

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.module_search import ModuleQuestion
from petapter_registry_server.web.formats import segment
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor
from petapter_schemas.registry_api import API

router = page_router()

_PAGE = 50


@router.get("/{namespace}")
def namespace_page(
    namespace: Segment,
    request: Request,
    visitor: CurrentVisitor,
    services: AllServices,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Whose namespace it is, and its modules by name."""
    view = services.namespaces.view(visitor.caller, namespace)
    question = ModuleQuestion(properties=(("namespace", view.name),), order="name", limit=_PAGE, cursor=cursor)
    found = services.module_search.search(visitor.caller, question)
    feed = f"{API}/feeds/{segment(view.name)}"
    return page(request, "namespace.html", view=view, found=found, cursor=cursor, feed=feed)
