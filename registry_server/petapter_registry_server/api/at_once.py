"""Answering without a change of threads, which costs as much of the processor as the rest of a small answer."""

from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from petapter_registry_server.db.answers import NotKeptError, kept_alone

Value = TypeVar("Value")


async def at_once(work: Callable[[], Value]) -> Value:
    """What `work` returns: done here where all that it asks the database is kept, else by a thread.

    It may be begun twice, so that it must change nothing before it has asked.
    """
    try:
        with kept_alone():
            return work()
    except NotKeptError:
        return await run_in_threadpool(work)
