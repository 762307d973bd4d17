"""Answers that are kept for as long as nobody commits anything: each is what the database would answer again.

A state is a value that a backend reads from the database itself, in microseconds, and that changes with every commit of
any process; none comes back. An answer that was read after the state was seen may be given to every request that has
seen the same state since: had anything changed in between, the state would have too. So nothing is ever given that a
read of its own could not have found while the request was running.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast

State = str
"""Compared for equality alone."""

Value = TypeVar("Value")

MOST_WEIGHT = 50_000
"""About 20 MiB, at some 400 bytes for a file of a tree or another small thing."""
MOST_WEIGHT_AT_ONCE = 200
"""What weighs more takes milliseconds to send, and is no longer `kept_alone`."""

_is_alone: ContextVar[bool] = ContextVar("kept_alone", default=False)


class NotKeptError(Exception):
    """The database would have to be asked where nothing may wait for it."""


@contextmanager
def kept_alone() -> Iterator[None]:
    """Within, in this thread, what would wait for the database raises NotKeptError instead."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def check_may_wait() -> None:
    """Refuse to wait for the database. Raises: NotKeptError."""
    if _is_alone.get():
        raise NotKeptError


class Answers:
    """The answers to one state; those that were asked for longest ago make room."""

    def __init__(self, most_weight: int = MOST_WEIGHT) -> None:
        self._most_weight = most_weight
        self._state: State | None = None
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def recall(
        self, state: State | None, key: Hashable, read: Callable[[], Value], weigh: Callable[[Value], int] | None = None
    ) -> Value:
        """What `read` gives, or gave since this state was first seen; what it raises is not kept.

        Args:
            state: The one that the request saw; None reads anew.
            key: The question, the asker included.
            read: Reads the database; it begins after the state was seen.
            weigh: How many small things the answer holds; 1 unless given.

        Raises:
            NotKeptError: It is not kept, or large, within `kept_alone`.
        """
        if state is None:
            return read()
        with self._lock:
            if state == self._state and (found := self._kept.get(key)) is not None:
                if found[1] > MOST_WEIGHT_AT_ONCE:
                    check_may_wait()
                self._kept.move_to_end(key)
                return cast("Value", found[0])
        check_may_wait()
        value = read()
        self._keep(state, key, value, 1 if weigh is None else weigh(value))
        return value

    def _keep(self, state: State, key: Hashable, value: object, weight: int) -> None:
        with self._lock:
            if state != self._state:
                self._kept.clear()
                self._state, self._weight = state, 0
            if (replaced := self._kept.pop(key, None)) is not None:
                self._weight -= replaced[1]
            self._kept[key] = (value, weight)
            self._weight += weight
            while self._weight > self._most_weight:
                _, (_, freed) = self._kept.popitem(last=False)
                self._weight -= freed
