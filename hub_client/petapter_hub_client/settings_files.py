"""The small JSON files in which the client keeps its settings: one line for a broken one, and changes in turns."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from petapter_hub_client.locks import CONFIG_TIMEOUT_S, locked
from petapter_hub_client.places import config_directory
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


@contextmanager
def changing_settings(name: str) -> Iterator[Path]:
    """Hold a file of the configuration directory, which is made if there is none, while it is read and replaced.

    Yields:
        The file.
    """
    directory = config_directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(directory / f"{name}.lock", CONFIG_TIMEOUT_S):
        yield directory / name
