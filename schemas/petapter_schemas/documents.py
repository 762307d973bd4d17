"""Reads a JSON file of a module that states its format version: strict JSON, then the version, then the fields."""

from typing import TypeVar

from pydantic import ValidationError

from petapter_schemas import strict_json
from petapter_schemas.errors import ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

Document = TypeVar("Document", bound=Frozen)


def parse_document(kind: type[Document], data: bytes, *, source: str, what: str) -> Document:
    """The document in some bytes.

    Args:
        kind: Of which type it is.
        data: The file.
        source: Its name, for messages.
        what: What it should be, for messages.

    Raises:
        ManifestError: The bytes are none of format version 1.
    """
    strict_json.check_version(strict_json.loads(data, source=source), source=source, what=what)
    try:
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise ManifestError(f"{source} breaks the format: {first_problem(error)}") from error
