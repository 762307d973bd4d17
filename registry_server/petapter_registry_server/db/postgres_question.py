"""A prepared statement of one value, asked by an event loop over a connection that nobody else uses meanwhile.

It is psycopg's layer over libpq, https://www.psycopg.org/psycopg3/docs/api/pq.html: its asynchronous connections take
as much of the processor for one value as all the rest of a small answer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

_LONGEST_WAIT_S = 1.0


class Question:
    """One question on its way."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Any,  # noqa: ANN401 (psycopg may not be installed)
        take: Callable[[str | None], None],
    ) -> None:
        """Wait for an answer.

        Args:
            loop: The one that runs.
            connection: A `psycopg.Connection` that waits for nothing.
            take: Called in the loop with the value, or with None where there is none within a second; it calls `end`.
        """
        self._loop = loop
        self._connection = connection.pgconn
        self._failures: type[Exception] = connection.Error
        self._take = take
        self._value: str | None = None
        self._socket: int = self._connection.socket
        self._too_late = loop.call_later(_LONGEST_WAIT_S, take, None)
        loop.add_reader(self._socket, self._read)

    def send(self, prepared: bytes) -> None:
        """Ask by the name of a prepared statement."""
        try:
            self._connection.send_query_prepared(prepared, None)
            is_sent = self._connection.flush() == 0
        except self._failures:
            is_sent = False
        if not is_sent:
            self._take(None)

    def end(self) -> None:
        """Wait no more."""
        self._too_late.cancel()
        self._loop.remove_reader(self._socket)

    def _read(self) -> None:
        try:
            self._connection.consume_input()
            while not self._connection.is_busy():
                result = self._connection.get_result()
                if result is None:  # the connection is free again
                    self._take(self._value)
                    return
                found = result.get_value(0, 0)  # None of an error, which has no row
                self._value = None if found is None else found.decode()
        except self._failures:
            self._take(None)
