"""Whether this process may still acknowledge writes: not once a sync has failed, until it is started again.

After a failed `fsync` nobody knows what is on disk. The system may have dropped the bytes, and call the next `fsync` of
the same file or directory a success (Rebello et al. 2020, "Can Applications Recover from fsync Failures?", USENIX ATC).
So it is never tried again: what was acknowledged before stays, and a fresh start reads what the disk really holds.
"""

import threading
from collections.abc import Callable

import structlog

from petapter_registry_server.errors import WritesStoppedError

SyncFailed = Callable[[], None]
"""Called by whoever syncs when that fails, before anybody else can rely on another sync."""


def nobody_asks() -> None:
    """What programs of one deed do when a sync fails: they end with its error."""


class Writes:
    """The writes of one process, with which its blob store and its database begin together and stop together."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    @property
    def are_stopped(self) -> bool:
        """Whether a sync has failed."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let no write be acknowledged from now on; to be called where a sync fails, before anybody hears of it."""
        if not self._stopped.is_set():
            self._stopped.set()
            log = structlog.get_logger("petapter_registry_server")
            log.error("writes stopped", problem="a sync to disk failed", remedy="check the disk and restart the server")

    def check(self) -> None:
        """Refuse to go on with a write. Raises: WritesStoppedError."""
        if self._stopped.is_set():
            raise WritesStoppedError
