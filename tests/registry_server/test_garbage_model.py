"""Pushes, deletions, the steps of garbage collection and crashes between them, in any order, against a model."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from hypothesis.strategies import sampled_from

from petapter_registry_server.services.garbage import GarbageCollection
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_schemas.digests import sha256_bytes
from tests.registry_server.conftest import open_registry

GRACE_MS = 1000
CONTENTS = [b"a", b"b", b"c"]


class CrashError(Exception):
    """The process ends here."""


class Registry(RuleBasedStateMachine):
    """What living repositories hold, by name: all of it must be readable at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.registry = open_registry(Settings(data=self.place / "data", gc_interval_s=0))
        self.caller = self.registry.admin
        own = self.registry.app.state.services.garbage
        self.database, self.store = own._database, own._store
        self.now_ms = time.time_ns() // 1_000_000 + 60_000
        self.garbage = GarbageCollection(self.database, self.store, grace_ms=GRACE_MS, clock=lambda: self.now_ms)
        self.living: dict[str, set[bytes]] = {}
        self.made = 0

    repositories = Bundle("repositories")

    @rule(target=repositories)
    def create(self) -> str:
        self.made += 1
        name = f"team/r{self.made}"
        assert self.caller.create(name).status_code == 200
        self.living[name] = set()
        return name

    @rule(name=repositories, content=sampled_from(CONTENTS))
    def push(self, name: str, content: bytes) -> None:
        self.caller.published(name, {f"{content.decode()}.txt": content})
        self.living[name].add(content)

    @rule(content=sampled_from(CONTENTS))
    def push_that_dies_before_its_transaction(self, content: bytes) -> None:
        with self.store.scratch() as scratch:
            (scratch / "file").write_bytes(content)
            self.store.promote({sha256_bytes(content): scratch / "file"})

    @rule(name=consumes(repositories))
    def delete(self, name: str) -> None:
        assert self.caller.delete(name).status_code == 200
        del self.living[name]

    @rule()
    def pass_grace(self) -> None:
        self.now_ms += GRACE_MS

    @rule()
    def adopt_strays(self) -> None:
        self.garbage.adopt_strays()

    @rule()
    def condemn(self) -> None:
        self.garbage.condemn()

    @rule()
    def delete_condemned(self) -> None:
        self.garbage.delete()

    @rule()
    def delete_condemned_and_die_before_the_commit(self) -> None:
        dying: Any = _Dying(self.store)
        doomed = GarbageCollection(self.database, dying, grace_ms=GRACE_MS, clock=lambda: self.now_ms)
        try:
            doomed.delete()
        except CrashError:
            return

    @invariant()
    def everything_alive_is_readable(self) -> None:
        for name, contents in self.living.items():
            for content in contents:
                answer = self.caller.get(f"/{name}/resolve/main/{content.decode()}.txt")
                assert (answer.status_code, answer.content) == (200, content)

    def teardown(self) -> None:
        for name in list(self.living):
            self.delete(name)
        for _ in range(3):
            self.garbage.run()
            self.now_ms += GRACE_MS
        assert list(self.store.stored()) == []
        self.database.close()
        shutil.rmtree(self.place)


class _Dying:
    """A store whose process ends right after the bytes are deleted, before the row is."""

    def __init__(self, store: BlobShelf) -> None:
        self._store = store

    def delete(self, sha256: str) -> None:
        self._store.delete(sha256)
        raise CrashError


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
