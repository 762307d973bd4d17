"""An OpenAPI description of every route of the registry, the Hub's as well, with the bodies that routes read.

What the registry publishes describes its native API alone; this one exists so that a generator knows all the others.
"""

import warnings
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from petapter_registry_server.api import PARTS
from petapter_registry_server.api.hub import not_offered
from petapter_registry_server.api.modules.bodies import add_bodies

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
    add_bodies(document, routes)
    schemas = document["components"]["schemas"]
    schemas["Paths"] = {"type": "object", "properties": {"paths": {"type": "array", "items": {"type": "string"}}}}
    for route in routes:
        if (content := _OTHER_BODIES.get(route.name)) is not None:
            for method in route.methods & {"POST", "PUT"}:
                document["paths"][route.path_format][method.lower()]["requestBody"] = {
                    "required": True,
                    "content": content,
                }
    return document
