"""Reads the small JSON files in which the client keeps its settings, and says in one line what is wrong with one."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from petapter_schemas import strict_json
from petapter_schemas.errors import InputError, ManifestError
from petapter_schemas.frozen import Frozen
from petapter_schemas.messages import first_problem

Document = TypeVar("Document", bound=Frozen)


def read_settings(path: Path, empty: Document, *, remedy: str) -> Document:
    """The document in a file, or `empty` where there is no file yet.

    Args:
        path: The file.
        empty: What its absence means; also says of which type the document is.
        remedy: What to do about a broken file.

    Raises:
        InputError: The file is broken.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return empty
    try:
        return type(empty).model_validate(strict_json.loads(data, source=str(path)))
    except ManifestError as error:
        raise InputError(f"{error}: {remedy}") from error
    except ValidationError as error:
        raise InputError(f"{path} is broken ({first_problem(error)}): {remedy}") from error
