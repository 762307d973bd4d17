"""Writes the JSON Schemas of what petapter reads and writes, so that other programs and editors can check it.

    python -m petapter_schemas.json_schema schemas

They know the fields, their types and bounds. The rules between fields stand in schemas/README.md.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from petapter_schemas.ensemble import EnsembleSpec
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.manifest import Manifest
from petapter_schemas.merge_spec import MAX_MEMBERS
from petapter_schemas.names import ModuleName
from petapter_schemas.stack import PatternNumber, Place, StackLock, StackWeight

Schema = dict[str, object]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> Schema:
    """JSON Schema (draft 2020-12) of `petapter.json`, format version 1."""
    return _of_file(Manifest, "manifest", "schema_version")


def ensemble_schema() -> Schema:
    """JSON Schema of `ensemble.json`, format version 1."""
    return _of_file(EnsembleSpec, "ensemble", "schema_version")


def evaluation_set_schema() -> Schema:
    """JSON Schema of `evaluation-set.json`, format version 1."""
    return _of_file(EvaluationSetSpec, "evaluation-set", "schema_version")


def stack_lock_schema() -> Schema:
    """JSON Schema of `stack.lock`, format version 1."""
    return _of_file(StackLock, "stack-lock", "lock_version")


def stack_schema() -> Schema:
    """JSON Schema of `stack.yaml` as YAML readers understand it, numbers as numbers."""
    place = TypeAdapter(Place).json_schema()
    patterns = {"type": "array", "items": TypeAdapter(PatternNumber).json_schema(), "minItems": 1, "uniqueItems": True}
    weight = TypeAdapter(StackWeight).json_schema()
    module = _closed({"module": place, "patterns": patterns}, "module")
    member = {"anyOf": [place, _closed({"module": place, "weight": weight}, "module")]}
    members = {"type": "array", "items": member, "minItems": 2, "maxItems": MAX_MEMBERS}
    modules = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": TypeAdapter(ModuleName).json_schema(),
        "additionalProperties": {"anyOf": [place, module, _closed({"members": members}, "members")]},
    }
    return {**_head("stack"), **_closed({"backbone": place, "modules": modules}, "modules")}


SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "petapter-manifest-v1.schema.json": manifest_schema,
    "petapter-ensemble-v1.schema.json": ensemble_schema,
    "petapter-evaluation-set-v1.schema.json": evaluation_set_schema,
    "petapter-stack-v1.schema.json": stack_schema,
    "petapter-stack-lock-v1.schema.json": stack_lock_schema,
}
"""By the name of the file that holds each."""


def main() -> None:
    """Write every schema into the directory named on the command line."""
    if len(sys.argv) != 2:  # noqa: PLR2004 (itself and the directory)
        sys.exit("name the directory to write the schemas into: python -m petapter_schemas.json_schema schemas")
    for name, schema in SCHEMAS.items():
        text = json.dumps(schema(), indent=2, sort_keys=True) + "\n"
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")


def _of_file(model: type[BaseModel], name: str, version: str) -> Schema:
    schema = model.model_json_schema()
    required = [version, *schema["required"]]  # it has a default in Python, but never in a file
    return {**_head(name), **schema, "required": required}


def _head(name: str) -> Schema:
    return {"$schema": _DRAFT, "$id": f"urn:petapter:{name}:1"}


def _closed(properties: Schema, required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": [required], "additionalProperties": False}


if __name__ == "__main__":
    main()
