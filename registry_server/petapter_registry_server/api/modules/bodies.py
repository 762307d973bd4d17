"""How the description of the native API names the bodies that routes read for themselves."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from petapter_schemas.evaluation_api import EvaluationSetSettings
from petapter_schemas.measuring_api import EvaluationRequest, Reproduction
from petapter_schemas.registry_api import ChannelTarget, CompatibilityQuestion, YankRequest

_BODIES: tuple[type[BaseModel], ...] = (
    ChannelTarget,
    CompatibilityQuestion,
    EvaluationRequest,
    EvaluationSetSettings,
    Reproduction,
    YankRequest,
)
_REFERENCE = "#/components/schemas/{model}"


def sent(model: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: it takes this model as JSON."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def definitions() -> dict[str, Any]:
    """The schemas of all bodies and what they hold, by name."""
    _, document = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REFERENCE)
    schemas: dict[str, Any] = document["$defs"]
    return schemas
