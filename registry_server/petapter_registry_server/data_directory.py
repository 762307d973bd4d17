"""Where things lie in the data directory, and the lock: one server alone on SQLite, or several over one PostgreSQL."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.file_systems import is_network, kind_of


@dataclass(frozen=True)
class DataDirectory:
    """The paths of one registry's data."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file; `-wal` and `-shm` lie beside it while it is open."""
        return self.root / "registry.sqlite"

    @property
    def lock_file(self) -> Path:
        """The file whose lock a running server holds."""
        return self.root / "registry.lock"

    @property
    def scratch(self) -> Path:
        """Where files of requests lie until they are blobs."""
        return self.root / "scratch"

    def create(self) -> None:
        """Make the directory, readable by its owner alone, when it is missing.

        Raises:
            DataDirectoryError: It cannot be made.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataDirectoryError(f"cannot make the data directory {self.root}: {error.strerror}") from error

    def create_for_sqlite(self) -> None:
        """As `create`.

        Raises:
            DataDirectoryError: It cannot be made, or is on a network file system, where SQLite loses data.
        """
        self.create()
        kind = kind_of(self.root)
        if is_network(kind):
            raise DataDirectoryError(f"{self.root} is on {kind}, where SQLite loses data: choose a local disk")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the system lets go of it however the process ends.

        Raises:
            DataDirectoryError: Another server holds it.
        """
        with self._flocked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the directory together with other servers over the same PostgreSQL database.

        Raises:
            DataDirectoryError: A server over SQLite holds it.
        """
        with self._flocked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def _flocked(self, mode: int) -> Iterator[None]:
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise DataDirectoryError(
                f"another petapter-registry already serves {self.root}: stop it, or choose another --data"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)
