"""A deed that is done again and again beside the requests, in a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

from petapter_schemas.errors import PetapterError

Stopped = Callable[[], bool]
"""Whether the deed should end early."""


@contextmanager
def repeated(name: str, deed: Callable[[Stopped], object], interval_s: float) -> Iterator[None]:
    """Do a deed every `interval_s` seconds while the block runs, the first time after one interval; 0 is never.

    A deed that fails is logged and done again later; one that did nothing, as it says by 0, is not logged. At the end
    of the block the deed in progress is told to stop and waited for.
    """
    if interval_s <= 0:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_repeat, args=(name, deed, interval_s, stop), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _repeat(name: str, deed: Callable[[Stopped], object], interval_s: float, stop: threading.Event) -> None:
    log = structlog.get_logger("petapter_registry_server")
    while not stop.wait(interval_s):
        try:
            done = deed(stop.is_set)
        except (PetapterError, SQLAlchemyError, OSError) as error:
            log.warning("background", deed=name, failed=str(error).partition("\n")[0])
        else:
            if done != 0:
                log.info("background", deed=name, result=str(done))
