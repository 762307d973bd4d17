"""Keeps two petapter processes from changing one place at a time, and says so when the wait is long."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from petapter_schemas.errors import PetapterError

CONFIG_TIMEOUT_S = 30.0
CACHE_TIMEOUT_S = 900.0
"""Long enough for another process to finish a large download or build."""

_SILENT_S = 3.0
_LOG = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the lock file `path`, whose directory must exist; the file stays behind, empty.

    Raises:
        PetapterError: Another process held it for `timeout_s` seconds.
    """
    lock = FileLock(path)
    try:
        _acquire(lock, timeout_s)
    except Timeout as error:
        raise PetapterError(f"another petapter process has held {path} for {timeout_s:.0f} s: let it finish") from error
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, timeout_s: float) -> None:
    silent_s = min(_SILENT_S, timeout_s)
    try:
        lock.acquire(timeout=silent_s)
    except Timeout:
        if timeout_s <= silent_s:
            raise
        _LOG.warning("another petapter process is at work in %s: waiting for it", Path(lock.lock_file).parent)
        lock.acquire(timeout=timeout_s - silent_s)
