"""One thread that owns an engine, and a bounded queue before it: texts of all callers and modules run together.

The thread takes what arrived while the last batch ran. It never waits for more to come: under load a batch fills by
itself, and without load there is nothing to gain. Loads and unloads are turns of the same thread between two batches;
golden outputs are reproduced in pieces, between which texts that wait are answered.
"""

import copy
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from petapter.backbone import Backbone
from petapter.module import open_module
from petapter.runtime.answers import Prediction
from petapter.runtime.engine import Engine
from petapter.runtime.stats import EngineStats
from petapter.runtime.turns import Pieces, Turn, at_once
from petapter.runtime.waiting import Asked, BatchLimits, Job, take_batch
from petapter.task.encoding import Fields
from petapter.trained import TrainedModule
from petapter_schemas.errors import BusyError, ClosedError, InputError, NotLoadedError

About = TypeVar("About")
"""What the caller of `load` says about a module; every answer brings it along."""
Result = TypeVar("Result")

_FORGOTTEN = 0.8
"""How much of the measured rate stays when a batch more was measured: about the last five count."""


@dataclass(frozen=True)
class Answer(Generic[About]):
    """What a module said.

    Attributes:
        prediction: The answer, under the alias that was asked.
        about: What was said of the very module that gave it when it was loaded.
    """

    prediction: Prediction
    about: About


@dataclass(frozen=True)
class BatchReport:
    """A batch that ran.

    Attributes:
        texts: How many.
        seconds: From when it was taken until its callers had their answers.
    """

    texts: int
    seconds: float


@dataclass(frozen=True)
class _Serving(Generic[About]):
    """A module that answers to an alias: what the engine calls it, its text fields, and what was said of it."""

    name: str
    fields: tuple[str, ...]
    about: About


class Batcher(Generic[About]):
    """Answers callers of many threads with one engine, which belongs to its thread until `close`.

    Also a context manager, which closes it.

    Example:
        >>> with Engine(backbone) as engine, Batcher(engine, backbone) as batcher:
        ...     batcher.load("intents", Path("intents"), about="v1.2.0")
        ...     batcher.submit([("intents", "book a table for two")]).result()
    """

    def __init__(
        self,
        engine: Engine,
        backbone: Backbone,
        limits: BatchLimits | None = None,
        *,
        on_batch: Callable[[BatchReport], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            engine: Without modules; nobody else may use it before `close`.
            backbone: The engine's.
            limits: The default ones if None.
            on_batch: Hears of every batch, on the thread.
        """
        self._engine = engine
        # The tokenizer is not made for two threads; directories are opened on those of the callers.
        self._own = replace(backbone, tokenizer=copy.deepcopy(backbone.tokenizer))
        self._opening = threading.Lock()
        self.limits = limits or BatchLimits()
        self._on_batch = on_batch or (lambda _report: None)
        self._serving: Mapping[str, _Serving[About]] = {}
        self._waiting: deque[Asked[Answer[About]]] = deque()
        self._turns: deque[Turn[Any]] = deque()
        self._gives_way = False
        self._changed = threading.Condition()
        self._is_closing = False
        self._rate: float | None = None
        self._thread = threading.Thread(target=self._run, name="petapter-engine")
        self._thread.start()

    @property
    def modules(self) -> Mapping[str, About]:
        """What was said of the modules that answer now, by alias in order of loading; from any thread."""
        return {alias: serving.about for alias, serving in self._serving.items()}

    @property
    def is_open(self) -> bool:
        """Whether texts are taken; also false once a bug has ended the thread."""
        return not self._is_closing

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return len(self._waiting)

    def submit(self, requests: Sequence[tuple[str, str | Fields]]) -> "Future[list[Answer[About]]]":
        """Have requests answered, each an alias and a text (or its fields), in their order.

        Texts of one call may run in several batches. The future fails with NotLoadedError, with InputError where a
        field is missing, or with whatever the engine raised; other callers do not notice.

        Raises:
            BusyError: Too many texts wait.
            ClosedError: `close` was called.
            InputError: A text is no valid Unicode, or these are more texts than may ever wait.
        """
        most = self.limits.waiting
        if len(requests) > most:
            raise InputError(f"{len(requests)} texts in one call are more than the {most} that may wait: send fewer")
        job: Job[Answer[About]] = Job(requests)
        asked = job.asked()
        if not requests:
            job.future.set_result([])
        with self._changed:
            self._check_open()
            if (waiting := len(self._waiting)) + len(requests) > most:
                raise BusyError(f"{waiting} texts wait already: try again later", self._seconds_for(waiting))
            self._waiting.extend(asked)
            self._changed.notify()
        return job.future

    def load(
        self,
        alias: str,
        directory: Path,
        *,
        about: About,
        patterns: tuple[int, ...] | None = None,
        check: bool = False,
    ) -> bool:
        """Load a module, or put it in the place of the one that has the alias; whether there was one.

        The directory is opened and verified on the caller's thread while others are answered. Batches before the change
        are answered by the old module, later ones by the new one. If this fails, the old one stays.

        Args:
            alias: The name to call it by.
            directory: The module.
            about: Whatever answers shall bring along.
            patterns: As `Engine.load` takes them.
            check: Also reproduce its golden outputs, in pieces between batches; it answers after the last.

        Raises:
            ModuleError: The directory must not be used, or the golden outputs are not reproduced.
            BackboneMismatchError: The module belongs to another backbone.
            ClosedError: `close` was called.
        """
        module = self._opened(directory)
        return self._on_thread(
            self._put(
                alias,
                _Serving(alias, module.task.fields, about),
                lambda name: self._engine.load_in_pieces(module, name, check=check, patterns=patterns),
            )
        )

    def load_ensemble(
        self,
        alias: str,
        members: Mapping[str, Path],
        *,
        about: About,
        weights: Sequence[float] | None = None,
        thresholds: Sequence[float] | None = None,
        check: bool = False,
    ) -> bool:
        """Load directories that answer together, as `load` loads one; `Engine.load_ensemble` says what is what.

        Raises:
            InputError: Members, weights or thresholds do not fit.
            ModuleError: As `load`; BackboneMismatchError and ClosedError too.
        """
        modules = {name: self._opened(directory) for name, directory in members.items()}
        fields = tuple(dict.fromkeys(field for module in modules.values() for field in module.task.fields))
        return self._on_thread(
            self._put(
                alias,
                _Serving(alias, fields, about),
                lambda name: self._engine.load_ensemble_in_pieces(
                    modules, name, weights, thresholds=thresholds, check=check
                ),
            )
        )

    def unload(self, alias: str) -> None:
        """Forget a module. Texts for it that wait then fail with NotLoadedError.

        Raises:
            NotLoadedError: No module has this alias.
            ClosedError: `close` was called.
        """

        def change() -> None:
            if (serving := self._serving.get(alias)) is None:
                raise _not_loaded(alias)
            self._serving = {other: kept for other, kept in self._serving.items() if other != alias}
            self._engine.unload(serving.name)

        self._on_thread(at_once(change))

    def stats(self) -> EngineStats:
        """What the engine holds and has done, between two batches.

        Raises:
            ClosedError: `close` was called.
        """
        return self._on_thread(at_once(self._engine.stats))

    def resident(self) -> frozenset[str]:
        """The aliases of modules whose weights are on the device, between two batches.

        Raises:
            ClosedError: `close` was called.
        """

        def find() -> frozenset[str]:
            return frozenset(alias for alias, one in self._serving.items() if self._engine.is_resident(one.name))

        return self._on_thread(at_once(find))

    def refuse(self) -> None:
        """From now on nothing more is taken; what was taken is still answered."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def abandon(self) -> int:
        """Take nothing more, and let what waits fail with ClosedError; how many texts did. The batch that runs ends."""
        with self._changed:
            self._is_closing = True
            left = [*self._waiting]
            self._waiting.clear()
            self._changed.notify()
        for asked in left:
            asked.job.fail(ClosedError("the service was stopped before it could answer"))
        return len(left)

    def close(self) -> None:
        """Take nothing more, answer what was taken, and end the thread; the engine is the caller's again."""
        self.refuse()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closing:
            raise ClosedError("nothing more is taken: the service is being stopped")

    def _opened(self, directory: Path) -> TrainedModule:
        self._check_open()
        with self._opening:
            return open_module(directory, self._own)

    def _put(self, alias: str, serving: _Serving[About], load: Callable[[str], Pieces[None]]) -> Pieces[bool]:
        """Load under a name that is free, then let it answer to the alias, and only then forget what did before."""
        taken = {other.partition("/")[0] for other in self._engine.aliases}  # members of one that is under way, too
        name = next(name for more in itertools.count() if (name := alias + "'" * more) not in taken)
        yield from load(name)
        old = self._serving.get(alias)  # now, for other turns may have come between the pieces
        self._serving = {**self._serving, alias: replace(serving, name=name)}
        if old is not None:
            self._engine.unload(old.name)
        return old is not None

    def _seconds_for(self, texts: int) -> int:
        return max(1, math.ceil(texts / self._rate)) if self._rate else 1

    def _on_thread(self, pieces: Pieces[Result]) -> Result:
        """Do something between two batches, and wait for it."""
        turn = Turn(pieces)
        with self._changed:
            self._check_open()
            self._turns.append(turn)
            self._changed.notify()
        return turn.done.result()

    def _run(self) -> None:
        try:
            while (do := self._next()) is not None:
                do()
        finally:  # also where a bug ends the thread: nobody shall wait for ever
            self.abandon()
            while self._turns:
                self._go_on(self._turns.popleft())

    def _go_on(self, turn: Turn[Any]) -> None:
        """Do a piece of a turn; if there are more, texts that wait come before the next one."""
        if turn.go_on():
            self._gives_way = True
            self._turns.append(turn)

    def _next(self) -> Callable[[], None] | None:
        """What to do next: loads and the like first, then a batch; None to end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._turns or self._waiting or self._is_closing)
                if self._turns and not (self._gives_way and self._waiting):
                    return partial(self._go_on, self._turns.popleft())
                self._gives_way = False
                if batch := take_batch(self._waiting, self.limits):
                    return lambda: self._measured(batch)
                if self._is_closing:
                    return None

    def _measured(self, batch: Sequence[Asked[Answer[About]]]) -> None:
        began = time.perf_counter()
        self._answer([asked for asked in batch if self._can_answer(asked)])
        seconds = time.perf_counter() - began
        rate = len(batch) / max(seconds, 1e-9)
        self._rate = rate if self._rate is None else _FORGOTTEN * self._rate + (1 - _FORGOTTEN) * rate
        self._on_batch(BatchReport(len(batch), seconds))

    def _can_answer(self, asked: Asked[Answer[About]]) -> bool:
        """Whether the engine will not refuse a request, and with it the whole batch; if it would, its caller hears."""
        if asked.alias not in self._serving:
            asked.job.fail(_not_loaded(asked.alias))
            return False
        fields, text = self._serving[asked.alias].fields, asked.text
        if not isinstance(text, str) and (missing := [name for name in fields if name not in text]):
            needed = f"module {asked.alias!r} needs the text fields {', '.join(fields)}"
            asked.job.fail(InputError(f"{needed}: {missing[0]!r} is missing"))
            return False
        return True

    def _answer(self, batch: Sequence[Asked[Answer[About]]]) -> None:
        """Run a batch; if that fails, each caller's part by itself, so that nobody suffers from another's text."""
        if not batch:
            return
        serving = [self._serving[asked.alias] for asked in batch]
        try:
            said = self._engine.predict([(one.name, asked.text) for one, asked in zip(serving, batch, strict=True)])
        except Exception as error:  # noqa: BLE001 (of any kind: the thread goes on, the callers hear of it)
            self._answer_apart(batch, error)
            return
        for asked, one, prediction in zip(batch, serving, said, strict=True):
            asked.job.take(asked.number, Answer(replace(prediction, alias=asked.alias), one.about))

    def _answer_apart(self, batch: Sequence[Asked[Answer[About]]], error: Exception) -> None:
        jobs = {id(asked.job): asked.job for asked in batch}
        if len(jobs) == 1:
            batch[0].job.fail(error)
            return
        for job in jobs.values():
            self._answer([asked for asked in batch if asked.job is job])


def _not_loaded(alias: str) -> NotLoadedError:
    return NotLoadedError(f"no module is loaded as {alias!r}")
