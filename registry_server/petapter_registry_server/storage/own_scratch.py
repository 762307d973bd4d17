"""A scratch folder for each of the processes that share a data directory; those of dead processes are removed."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from petapter_registry_server.errors import DataDirectoryError

_LOCK = "lock"


@dataclass(frozen=True)
class OwnScratch:
    """A folder that belongs to this process as long as `descriptor`, which holds its lock, is open."""

    directory: Path
    descriptor: int

    def release(self) -> None:
        """Remove the folder and let go of it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self.descriptor)


def claim_scratch(parent: Path) -> OwnScratch:
    """Make a folder below `parent` for this process, and remove folders whose process is gone.

    Claims take turns, so that a folder is never seen between its making and its locking.

    Raises:
        DataDirectoryError: The folder cannot be made, or the file system knows no locks.
    """
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        turn = _open(parent.with_name(f"{parent.name}.lock"))
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            _remove_abandoned(parent)
            return _make(parent)
        finally:
            os.close(turn)
    except OSError as error:
        raise DataDirectoryError(f"cannot make a scratch folder in {parent}: {error.strerror}") from error


def _make(parent: Path) -> OwnScratch:
    directory = Path(mkdtemp(prefix=f"{os.uname().nodename}-{os.getpid()}-", dir=parent))
    descriptor = _open(directory / _LOCK)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return OwnScratch(directory, descriptor)


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.iterdir():
        if directory.is_dir() and _is_abandoned(directory / _LOCK):
            shutil.rmtree(directory, ignore_errors=True)


def _is_abandoned(lock: Path) -> bool:
    if not lock.exists():
        return True
    descriptor = _open(lock)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _open(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
