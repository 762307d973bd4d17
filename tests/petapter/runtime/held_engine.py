"""An engine whose batches wait until a test lets them go, and a batcher before it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from petapter import Backbone, Engine, Prediction
from petapter.runtime import Batcher
from petapter.runtime.batching import Answer
from petapter.runtime.turns import Pieces
from petapter.task.encoding import Fields

WAIT_S = 60
Start = Callable[..., Batcher[str]]


class HeldEngine(Engine):
    """An engine whose passes wait until they are let go, so that a test decides what happens meanwhile."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()
        self.sizes: list[int] = []
        self.order: list[str] = []

    def predict(self, requests: Sequence[tuple[str, str | Fields]]) -> list[Prediction]:
        self.sizes.append(len(requests))
        self.begun.set()
        assert self.let_go.wait(WAIT_S)
        self.order.append("batch")
        return super().predict(requests)

    def load_in_pieces(self, *given: Any, **options: Any) -> Pieces[None]:
        for _ in super().load_in_pieces(*given, **options):
            self.order.append("piece")
            yield

    @contextmanager
    def held(self, batcher: Batcher[str], alias: str) -> "Iterator[Future[list[Answer[str]]]]":
        """While this lasts, a batch of one text runs; everything else waits."""
        self.begun.clear()
        self.let_go.clear()
        first = batcher.submit([(alias, "a fine game")])
        assert self.begun.wait(WAIT_S)
        try:
            yield first
        finally:
            self.let_go.set()
