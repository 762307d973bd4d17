"""What the bodies hold that routes read for themselves (`json_body`), for descriptions of the routes."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from petapter_registry_server.api.dependencies import body_of

_REFERENCE = "#/components/schemas/{model}"


def add_bodies(document: dict[str, Any], routes: Sequence[APIRoute]) -> None:
    """Add to a description of these routes which JSON each of them takes, and the schemas of that."""
    bodies = {id(route): model for route in routes if (model := _body(route.dependant)) is not None}
    references, defined = models_json_schema(
        [(model, "validation") for model in {*bodies.values()}], ref_template=_REFERENCE
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(defined.get("$defs", {}))
    for route in routes:
        if model := bodies.get(id(route)):
            content = {"application/json": {"schema": references[(model, "validation")]}}
            for operation in _operations(document, route):
                operation["requestBody"] = {"required": True, "content": content}


def _operations(document: Mapping[str, Any], route: APIRoute) -> list[dict[str, Any]]:
    path = document["paths"].get(route.path_format, {})
    return [path[method.lower()] for method in route.methods or () if method.lower() in path]


def _body(dependant: Dependant) -> type[BaseModel] | None:
    for inner in dependant.dependencies:
        if (found := body_of(inner.call) or _body(inner)) is not None:
            return found
    return None
