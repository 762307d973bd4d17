"""One connection of PostgreSQL's that says whether anything was committed since it was asked last.

Threads ask it one after the other. An event loop sends a question and goes on; whoever comes while it is on its way
waits for the next, which all of them share: an answer is only for those who were there when its question was sent, so
that it holds every commit that any of them may know of.
"""

import asyncio
import threading
import time
from typing import Any

from sqlalchemy import Engine

from petapter_registry_server.db.postgres_question import Question

_LONGEST_WAIT_S = 1.0
_PAUSE_S = 1.0
_KEPT_S = 60.0
"""After a fail-over a connection may go on with a server that nobody writes to any more: it ends after a minute."""

_ASK = "SELECT pg_current_snapshot()::text"
_PREPARED = b"petapter_state"

Waiting = list[asyncio.Future[str | None]]


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
        self._one_asks = threading.Lock()  # a loop holds it from its question to the answer
        self._one_takes = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._to_answer: Waiting = []  # by the question that is on its way
        self._to_ask: Waiting = []  # for them the next one is sent
        self._question: Question | None = None

    def state(self) -> str | None:
        """The snapshot; None when the database does not answer at once: the read that follows says what is wrong."""
        if not self._one_asks.acquire(timeout=_LONGEST_WAIT_S):
            return None
        try:
            return self._ask()
        except self._engine.dialect.loaded_dbapi.Error:
            self._give_up()
            return None
        finally:
            self._one_asks.release()

    async def state_soon(self) -> str | None:
        """As `state`, for an event loop, which goes on meanwhile."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and not self._belongs_to(loop):
            return await loop.run_in_executor(None, self.state)
        mine: asyncio.Future[str | None] = loop.create_future()
        self._to_ask.append(mine)
        if not self._to_answer:
            self._send(loop)
        return await mine

    def close(self) -> None:
        """Close the connection; where a loop asks, in that loop's thread."""
        if self._question is not None:
            self._to_answer, self._to_ask = [*self._to_answer, *self._to_ask], []
            self._take(None)
        with self._one_asks:
            self._drop()

    def _belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the connection is this loop's to wait for; it stays with the first one that asks."""
        with self._one_takes:
            if self._loop is None or self._loop.is_closed():
                self._loop = loop
            return self._loop is loop

    def _ask(self) -> str | None:
        now = time.monotonic()
        if now < self._not_before:
            return None
        if self._connection is None or now > self._until:
            self._drop()
            self._connection = self._connect()
            self._until, self._opened = now + _KEPT_S, self._opened + 1
        ((snapshot,),) = self._connection.execute(_ASK).fetchall()
        return self._named(snapshot)

    def _named(self, snapshot: str) -> str:
        return f"{self._opened}.{snapshot}"  # another connection may be one to another server

    def _connect(self) -> Any:  # noqa: ANN401 (psycopg may not be installed)
        dialect = self._engine.dialect
        positional, named = dialect.create_connect_args(self._engine.url)
        connection = dialect.loaded_dbapi.connect(*positional, **(dict(named) | self._arguments), autocommit=True)
        connection.pgconn.prepare(_PREPARED, _ASK.encode())
        return connection

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask for all who wait; a thread does it where there is a connection to make, or another thread asks."""
        self._to_answer, self._to_ask = self._to_ask, []
        if not self._one_asks.acquire(blocking=False):
            self._send_by_thread(loop)
        elif self._connection is None or time.monotonic() > self._until:
            self._one_asks.release()
            self._send_by_thread(loop)
        else:
            self._question = Question(loop, self._connection, self._take)
            self._question.send(_PREPARED)

    def _send_by_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        def take(asked: asyncio.Future[str | None]) -> None:
            error = asked.exception()
            self._answer(None if error else asked.result(), error)

        loop.run_in_executor(None, self.state).add_done_callback(take)

    def _take(self, snapshot: str | None) -> None:
        """What the loop's own question came to; None where the database does not answer at once."""
        if self._question is not None:
            self._question.end()
            self._question = None
        if snapshot is None:
            self._give_up()
        state = None if snapshot is None else self._named(snapshot)
        self._one_asks.release()
        self._answer(state)

    def _answer(self, state: str | None, error: BaseException | None = None) -> None:
        answered, self._to_answer = self._to_answer, []
        for waiting in answered:
            if waiting.done():  # its request was given up
                continue
            if error is None:
                waiting.set_result(state)
            else:
                waiting.set_exception(error)
        if self._to_ask and self._loop is not None:
            self._send(self._loop)

    def _give_up(self) -> None:
        self._not_before = time.monotonic() + _PAUSE_S
        self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
