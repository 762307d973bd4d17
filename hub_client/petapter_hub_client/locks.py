"""Keeps two petapter processes from changing one place at a time, and says so when the wait is too long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from petapter_schemas.errors import PetapterError

CONFIG_TIMEOUT_S = 30.0
CACHE_TIMEOUT_S = 900.0
"""Long enough for another process to finish a large download or build."""


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock file `path`, whose directory must exist; the file stays behind, empty.

    Raises:
        PetapterError: Another process held it for `timeout_s` seconds.
    """
    try:
        with FileLock(path, timeout=timeout_s):
            yield
    except Timeout as error:
        raise PetapterError(f"another petapter process has held {path} for {timeout_s:.0f} s: let it finish") from error
