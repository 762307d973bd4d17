"""Writes the JSON Schema of the manifest, so that other programs can check modules.

    python -m petapter_schemas.json_schema schemas/petapter-manifest-v1.schema.json

It knows the fields, their types and bounds. The rules between fields stand in schemas/README.md.
"""

import json
import sys
from pathlib import Path

from petapter_schemas.manifest import Manifest

SCHEMA_ID = "urn:petapter:manifest:1"


def manifest_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of `petapter.json`, format version 1."""
    schema = Manifest.model_json_schema(mode="serialization")
    required = ["schema_version", *schema["required"]]  # it has a default in Python, but never in a file
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema, "required": required}


def main() -> None:
    """Write the schema to the file named on the command line, or to standard output."""
    text = json.dumps(manifest_schema(), indent=2, sort_keys=True) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
