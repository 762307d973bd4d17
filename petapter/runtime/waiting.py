"""What callers wait for: their texts in the order in which they came, bounded, and taken in batches."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from petapter.runtime.work import check_whole
from petapter.task.encoding import Fields
from petapter_schemas.errors import InputError

Result = TypeVar("Result")
"""What a caller gets for one text."""


@dataclass(frozen=True)
class BatchLimits:
    """How much is taken at once, and how much may wait.

    Attributes:
        texts: Of one batch. With about half of what callers send at a time, one half runs while the other is answered.
        characters: Of one batch, as a measure of its tokens; a longer text has a batch for itself.
        waiting: Texts that may wait.
    """

    texts: int = 32
    characters: int = 16_384
    waiting: int = 1024

    def __post_init__(self) -> None:
        if min(self.texts, self.characters, self.waiting) < 1:
            raise InputError("a batch and a queue must hold 1 or more")


@dataclass(eq=False)
class Job(Generic[Result]):
    """The texts of one caller.

    Attributes:
        requests: Each an alias and a text, or its fields.
        future: For the results of all of them, in order; done as soon as one fails.
    """

    requests: Sequence[tuple[str, str | Fields]]
    future: "Future[list[Result]]" = field(default_factory=Future)
    _results: dict[int, Result] = field(default_factory=dict)

    def asked(self) -> "list[Asked[Result]]":
        """The texts one by one.

        Raises:
            InputError: One is no valid Unicode.
        """
        return [Asked(self, number, _characters(text)) for number, (_, text) in enumerate(self.requests)]

    def take(self, number: int, result: Result) -> None:
        """Keep the result of one text; with the last of them the caller gets all."""
        self._results[number] = result
        if len(self._results) == len(self.requests) and not self.future.done():
            self.future.set_result([self._results[place] for place in range(len(self.requests))])

    def fail(self, error: BaseException) -> None:
        """Let the caller have an error, unless there was one before."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True)
class Asked(Generic[Result]):
    """One text of a job, by number, and its size."""

    job: Job[Result]
    number: int
    characters: int

    @property
    def alias(self) -> str:
        """Which module is asked."""
        return self.job.requests[self.number][0]

    @property
    def text(self) -> str | Fields:
        """What about."""
        return self.job.requests[self.number][1]


def take_batch(waiting: "deque[Asked[Result]]", limits: BatchLimits) -> "list[Asked[Result]]":
    """Take off the texts that waited longest, up to the limits; those of callers who heard of an error are dropped."""
    batch: list[Asked[Result]] = []
    room = limits.characters
    while waiting and len(batch) < limits.texts:
        if batch and waiting[0].characters > room:
            break
        asked = waiting.popleft()
        if not asked.job.future.done():
            batch.append(asked)
            room -= asked.characters
    return batch


def _characters(text: str | Fields) -> int:
    """How many characters a text has.

    Raises:
        InputError: It is no valid Unicode.
    """
    whole = text if isinstance(text, str) else "".join(text.values())
    check_whole(whole)
    return len(whole)
