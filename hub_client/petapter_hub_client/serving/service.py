"""The one object behind the routes: it starts, serves, changes its modules meanwhile, and drains."""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from petapter.backbone import Backbone
from petapter.runtime import Answer, Batcher, Engine, EngineStats
from petapter.task.encoding import Fields
from petapter_hub_client.fetching import pull
from petapter_hub_client.serving.errors import StartingError
from petapter_hub_client.serving.metrics import Metrics
from petapter_hub_client.serving.options import ServeOptions
from petapter_hub_client.stacks.opening import StackModule
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.errors import ClosedError, NotLoadedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """What a service starts with."""

    backbone: Backbone
    modules: Sequence[StackModule]


class Service:
    """Modules behind a queue. Every method may be called from any thread; those that wait say so."""

    def __init__(self, options: ServeOptions, metrics: Metrics) -> None:
        """A service that is starting: it answers nothing before `start`."""
        self.options = options
        self._metrics = metrics
        self._batcher: Batcher[StackModule] | None = None
        self._engine: Engine | None = None
        self._is_draining = False
        self._is_ready = False
        self._pulling = threading.Lock()
        self._stats: EngineStats | None = None
        metrics.watch(lambda: 0 if self._batcher is None else self._batcher.waiting, self._latest_stats)

    def start(self, open_all: Callable[[], Opened]) -> None:
        """Open backbone and modules and begin to answer; waits.

        Raises:
            PetapterError: One of them cannot be had; then `close` is all that is left.
            ClosedError: It was to stop before it had started.
        """
        opened = open_all()
        self._engine = Engine(opened.backbone, module_bytes=self.options.module_bytes, graphs=self.options.cuda_graphs)
        self._batcher = Batcher(self._engine, opened.backbone, self.options.batches, on_batch=self._metrics.count_batch)
        for module in opened.modules:
            if self._is_draining:
                raise ClosedError("the service was stopped while it started")
            self._load(self._batcher, module)
        self._is_ready = True

    def check_ready(self) -> None:
        """Whether requests are taken.

        Raises:
            StartingError: Not yet.
            ClosedError: No more.
        """
        self._open()

    def submit(self, requests: Sequence[tuple[str, str | Fields]]) -> Future[list[Answer[StackModule]]]:
        """Have texts answered; raises and fails as `Batcher.submit`, and as `check_ready`."""
        return self._open().submit(requests)

    def modules(self) -> dict[str, tuple[StackModule, bool]]:
        """What is loaded, by alias, and whether it is on the device; waits for the batch that runs."""
        batcher = self._open()
        resident = batcher.resident()
        return {alias: (module, alias in resident) for alias, module in batcher.modules.items()}

    def module(self, alias: str) -> tuple[StackModule, bool]:
        """One of them.

        Raises:
            NotLoadedError: No module has the alias.
        """
        modules = self.modules()
        if (found := modules.get(alias)) is None:
            raise NotLoadedError(f"no module is loaded as {alias!r}{did_you_mean(alias, modules)}")
        return found

    def load(self, alias: str, reference: str, patterns: tuple[int, ...] | None) -> tuple[StackModule, bool]:
        """Pull a module and let it answer to an alias from then on; waits. Also, whether it took another's place.

        Loads go one after the other, so that they leave most of the processor to the answers.

        Raises:
            PetapterError: It cannot be had or must not be used; what was loaded before stays.
        """
        batcher = self._open()
        with self._pulling:
            pulled = pull(reference)
            module = StackModule.of(alias, pulled, patterns)
            return module, self._load(batcher, module)

    def unload(self, alias: str) -> None:
        """Forget a module; waits for the batch that runs.

        Raises:
            NotLoadedError: No module has the alias.
        """
        self._open().unload(alias)
        logger.info("unloaded %s", alias)

    def refuse(self) -> None:
        """Take nothing more; what was taken is answered."""
        self._is_draining = True
        if self._batcher is not None:
            self._batcher.refuse()

    def abandon(self) -> int:
        """Take nothing more, and let what waits fail; how many texts did."""
        self._is_draining = True
        return 0 if self._batcher is None else self._batcher.abandon()

    def close(self) -> None:
        """Refuse, answer what was taken, and free everything; waits."""
        self.refuse()
        if self._batcher is not None:
            self._batcher.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _open(self) -> Batcher[StackModule]:
        if self._is_draining or not (self._batcher is None or self._batcher.is_open):
            raise ClosedError("the service is being stopped: nothing more is taken")
        if self._batcher is None or not self._is_ready:
            raise StartingError("the service is starting: try again in a few seconds")
        return self._batcher

    def _load(self, batcher: Batcher[StackModule], module: StackModule) -> bool:
        """Load a module or an ensemble."""
        if (members := module.members) is not None:
            replaced = batcher.load_ensemble(
                module.alias,
                members.directories,
                about=module,
                weights=members.weights,
                thresholds=members.thresholds,
                check=self.options.check,
            )
        else:
            replaced = batcher.load(
                module.alias, module.directory, about=module, patterns=module.patterns, check=self.options.check
            )
        source = f"{module.reference} at {module.commit}" if module.reference else "a directory"
        logger.info("loaded %s from %s, manifest %s", module.alias, source, module.digest)
        return replaced

    def _latest_stats(self) -> EngineStats | None:
        """What the engine says, or said last before it was closed."""
        if self._batcher is not None:
            with contextlib.suppress(ClosedError):
                self._stats = self._batcher.stats()
        return self._stats
