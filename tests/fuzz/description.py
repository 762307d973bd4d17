"""An OpenAPI description of every route of the registry, the Hub's as well, with the bodies that routes read.

What the registry publishes describes its native API alone; this one exists so that a generator knows all the others.
"""

import warnings
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from petapter_registry_server.api import PARTS
from petapter_registry_server.api.dependencies import body_of
from petapter_registry_server.api.hub import not_offered

_REFERENCE = "#/components/schemas/{model}"
_ANY_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_OTHER_BODIES: dict[str, dict[str, Any]] = {
    "commit": {"text/plain": _ANY_TEXT},
    "paths_info": {"application/x-www-form-urlencoded": {"schema": {"$ref": "#/components/schemas/Paths"}}},
    "exchange": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}},
    "publish_evaluation_set": {"text/plain": _ANY_TEXT},
    "receive": {"application/octet-stream": _ANY_TEXT},
    "receive_xorb": {"application/octet-stream": _ANY_TEXT},
    "receive_shard": {"application/octet-stream": _ANY_TEXT},
}


def describe() -> dict[str, Any]:
    """OpenAPI 3.1 of all routes."""
    routes = [route for part in (*PARTS, not_offered) for route in part.router.routes if isinstance(route, APIRoute)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate Operation ID")  # of routes with several methods
        document = get_openapi(title="petapter registry", version="1", routes=routes)
    bodies = {id(route): model for route in routes if (model := _body(route.dependant)) is not None}
    _, defined = models_json_schema([(model, "validation") for model in {*bodies.values()}], ref_template=_REFERENCE)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(defined.get("$defs", {}))
    schemas["Paths"] = {"type": "object", "properties": {"paths": {"type": "array", "items": {"type": "string"}}}}
    for route in routes:
        for method in route.methods:
            _add_body(document["paths"].get(route.path_format, {}).get(method.lower()), route, bodies.get(id(route)))
    return document


def _add_body(operation: dict[str, Any] | None, route: APIRoute, model: type[BaseModel] | None) -> None:
    if operation is None:
        return
    content = _OTHER_BODIES.get(route.name)
    if model is not None:
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
    if content is not None:
        operation["requestBody"] = {"required": True, "content": content}


def _body(dependant: Dependant) -> type[BaseModel] | None:
    for inner in dependant.dependencies:
        if (found := body_of(inner.call) or _body(inner)) is not None:
            return found
    return None
