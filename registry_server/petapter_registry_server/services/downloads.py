"""Counts downloads in memory and writes them down now and then, so that no reader waits for the database's writer.

One download is one GET of what a loader reads first: petapter.json, or adapter_config.json where there is none. What
one user, or one address without a token, fetches of one commit within an hour of the clock is one download. Each
process remembers that for itself.
What was counted since the last writing is lost when the process is killed.
"""

import logging
import threading
import time
from collections import Counter

from sqlalchemy.exc import SQLAlchemyError

from petapter_registry_server.db import downloads
from petapter_registry_server.db.engine import Database
from petapter_registry_server.errors import PassingError
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.rate_limits import network_of

_EVERY_S = 5.0
_ALIKE_S = 3600
_MOST_REMEMBERED = 100_000
"""Some 20 MB; where more are downloading in an hour, some are counted twice."""

logger = logging.getLogger(__name__)


class Downloads:
    """The counter of one process; `start` and `stop` it with the application."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: Counter[int] = Counter()
        self._seen: set[tuple[int, str, str]] = set()
        self._hour = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._writer = threading.Thread(target=self._write_now_and_then, name="downloads", daemon=True)

    def start(self) -> None:
        """Write down what is counted every few seconds from now on."""
        self._writer.start()

    def stop(self) -> None:
        """Write down the rest."""
        self._stopped.set()
        if self._writer.is_alive():
            self._writer.join()
        self.write()

    def count(self, repository_id: int, commit_oid: str, caller: Caller, address: str) -> None:
        """Note a download, unless the same one was noted in this hour; `address` tells apart those without a user."""
        who = network_of(address) if caller.user_id is None else f"user {caller.user_id}"
        hour, download = int(time.time()) // _ALIKE_S, (repository_id, commit_oid, who)
        with self._lock:
            if hour != self._hour or len(self._seen) >= _MOST_REMEMBERED:
                self._hour, self._seen = hour, set()
            if download not in self._seen:
                self._seen.add(download)
                self._counted[repository_id] += 1

    def write(self) -> None:
        """Write down what was counted; what cannot be written is kept for the next time."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
        if not counted:
            return
        try:
            with self._database.write() as session:
                downloads.add_downloads(session, counted)
        except (SQLAlchemyError, PassingError):
            logger.warning("downloads of %d repositories could not be written down and are kept", len(counted))
            with self._lock:
                self._counted.update(counted)

    def _write_now_and_then(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self.write()
