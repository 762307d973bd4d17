"""One connection of PostgreSQL's that says whether anything was committed since it was asked last."""

import threading
import time
from typing import Any

from sqlalchemy import Engine

_LONGEST_WAIT_S = 1.0
_PAUSE_S = 1.0
_KEPT_S = 60.0
"""After a fail-over a connection may go on with a server that nobody writes to any more: it ends after a minute."""

_ASK = "SELECT pg_current_snapshot()::text"


class Watch:
    """Asks for the transactions that a read would see.

    Every write has a number, and a snapshot says which numbers are done: equal ones see the same rows, and none comes
    back. https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
    """

    def __init__(self, engine: Engine, connect_arguments: dict[str, Any]) -> None:
        self._engine = engine
        self._arguments = connect_arguments
        self._connection: Any = None
        self._opened = 0
        self._until = self._not_before = 0.0
        self._one_asks = threading.Lock()

    def state(self) -> str | None:
        """The snapshot; None when the database does not answer at once: the read that follows says what is wrong."""
        if not self._one_asks.acquire(timeout=_LONGEST_WAIT_S):
            return None
        try:
            return self._ask()
        except self._engine.dialect.loaded_dbapi.Error:
            self._not_before = time.monotonic() + _PAUSE_S
            self._drop()
            return None
        finally:
            self._one_asks.release()

    def close(self) -> None:
        """Close the connection."""
        with self._one_asks:
            self._drop()

    def _ask(self) -> str | None:
        now = time.monotonic()
        if now < self._not_before:
            return None
        if self._connection is None or now > self._until:
            self._drop()
            self._connection = self._connect()
            self._until, self._opened = now + _KEPT_S, self._opened + 1
        ((snapshot,),) = self._connection.execute(_ASK).fetchall()
        return f"{self._opened}.{snapshot}"  # another connection may be one to another server

    def _connect(self) -> Any:  # noqa: ANN401 (psycopg may not be installed)
        dialect = self._engine.dialect
        positional, named = dialect.create_connect_args(self._engine.url)
        return dialect.loaded_dbapi.connect(*positional, **(dict(named) | self._arguments), autocommit=True)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
