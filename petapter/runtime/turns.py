"""What the thread of an engine does besides batches: at once, or in pieces between which a batch may run."""

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")
Pieces = Generator[None, None, Result]
"""Work that gives way wherever it yields, and returns what it made."""


def at_once(work: Callable[[], Result]) -> Pieces[Result]:
    """Work in one piece."""
    yield from ()
    return work()


def finish(pieces: Pieces[None]) -> None:
    """Do all pieces, one right after the other."""
    for _ in pieces:
        pass


class Turn(Generic[Result]):
    """Work under way, and whoever waits for it.

    Attributes:
        done: For what it makes, or its error.
    """

    def __init__(self, pieces: Pieces[Result]) -> None:
        """Nothing of it is done yet."""
        self.done: Future[Result] = Future()
        self._pieces = pieces

    def go_on(self) -> bool:
        """Do the next piece; whether there are more."""
        try:
            next(self._pieces)
        except StopIteration as end:
            self.done.set_result(end.value)
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            self.done.set_exception(error)
        else:
            return True
        return False
