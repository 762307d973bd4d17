"""Directories that are filled under another name and appear whole, or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.storage.durable import sync_directory


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A directory to fill, readable by its owner alone, that takes its name at the end, and goes when something fails.

    Raises:
        DataDirectoryError: The target is there already and is no empty directory, or cannot be made.
    """
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise DataDirectoryError(f"{target} is there already: choose a directory that does not exist")
        target.parent.mkdir(parents=True, exist_ok=True)
        place = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        place.mkdir(mode=0o700)
    except OSError as error:
        raise DataDirectoryError(f"{target} cannot be made: {error.strerror}") from error
    try:
        yield place
        sync_directory(place)
        place.rename(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)
