"""A real server that is killed in the middle of pushes, and what must be true when it is back."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import get_args

import httpx

from petapter_registry_server.db.engine import Database
from petapter_registry_server.failpoints import Place, Reached, nothing
from petapter_registry_server.services.scrubbing import Scrubbing
from petapter_registry_server.serving import serve_directory
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.local import LocalBlobStore
from tests.registry_process import new_token
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

PLACES: tuple[Place, ...] = get_args(Place)
REPO = "team/tickets"
START_S = 120
FILES = len(module_files())
LATEST = 1.2


@dataclass
class Tally:
    """What happened, and what must never happen."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    partial: int = 0


@dataclass
class Kills:
    """Kills over one data directory. Every version has other bytes, so that a wrong or missing file shows."""

    data: Path
    tally: Tally = field(default_factory=Tally)
    tried: dict[str, dict[str, bytes]] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def prepare(self) -> None:
        """Start once, make the repository."""
        with self._serving(nothing) as (url, _):
            self.token = new_token(self.data)
            with self._client(url) as api:
                body = {"name": "tickets", "organization": "team"}
                assert api.post("/api/repos/create", json=body).status_code == 200

    def kill_at(self, place: Place, arrival: int) -> None:
        """Check, push one version, and lose the server in the next one, at the n-th time that it comes to a place."""
        left = arrival + (FILES if place in {"synced", "renamed"} else 1)

        def reached(here: Place) -> None:
            nonlocal left
            left -= here == place
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        with self._serving(reached) as (url, _), self._client(url) as api:
            self._check(api, list(self.acknowledged)[-3:])
            self._push(api)
            self._push(api)
        self.tally.kills += 1

    def kill_after(self, share: float) -> None:
        """Check, push one version, and kill the server from outside in the next one, after a share of that time."""
        with self._serving(nothing) as (url, pid), self._client(url) as api:
            self._check(api, list(self.acknowledged)[-3:])
            began = time.monotonic()
            self._push(api)
            timer = Timer(share * (time.monotonic() - began), os.kill, (pid, signal.SIGKILL))
            timer.start()
            self._push(api)
            timer.join()
        self.tally.kills += 1

    def check_everything(self) -> None:
        """Every acknowledged version is there, byte for byte, and a scrub finds nothing."""
        with self._serving(nothing) as (url, _), self._client(url) as api:
            self._check(api, list(self.acknowledged))
        database = Database(self.data / "registry.sqlite")
        damages: list[object] = []
        Scrubbing(database, LocalBlobStore(self.data)).run(damages.append)
        database.close()
        self.tally.partial += len(damages)

    def _push(self, api: httpx.Client) -> None:
        title = f"version {len(self.tried)}"
        self.tried[title] = module_files(version=f"1.0.{len(self.tried)}", fill=float(len(self.tried)))
        try:
            answer = api.post(f"/api/models/{REPO}/commit/main", content=commit_body(self.tried[title], title=title))
        except httpx.TransportError:
            return
        assert answer.status_code == 200, answer.text
        self.acknowledged[answer.json()["commitOid"]] = title
        self.tally.acknowledged += 1

    def _check(self, api: httpx.Client, oids: list[str]) -> None:
        history = _history(api)
        self.tally.lost += len([oid for oid in self.acknowledged if oid not in history])
        newest = list(history)[:2]  # the head may be a version whose push was cut off after its transaction
        for oid in {*oids, *newest} & history.keys():
            if history[oid] in self.tried and not self._is_whole(api, oid, self.tried[history[oid]]):
                self.tally.partial += 1

    def _is_whole(self, api: httpx.Client, oid: str, files: dict[str, bytes]) -> bool:
        listed = {entry["path"] for entry in api.get(f"/api/models/{REPO}/tree/{oid}?recursive=true").json()}
        return listed == {*files, ".gitattributes"} and all(
            api.get(f"/{REPO}/resolve/{oid}/{path}").content == data for path, data in files.items()
        )

    def _client(self, url: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=url, headers=headers, timeout=120)

    @contextmanager
    def _serving(self, reached: Reached) -> Iterator[tuple[str, int]]:
        """A server in a process of its own, killed at the end; a fork, so that no import is waited for."""
        port_file = self.data.with_name("port")
        port_file.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _serve(self.data, port_file, reached)
        try:
            yield f"http://127.0.0.1:{_port(port_file)}", pid
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def run_kills(data: Path, kills: int, seed: int) -> Tally:
    """Kill at every place in turn, at one of its arrivals, and every other time at a random moment; then look."""
    chance = random.Random(seed)  # noqa: S311 (of a test)
    rounds = Kills(data)
    rounds.prepare()
    for number in range(kills):
        place = PLACES[number // 2 % len(PLACES)]
        if number % 2:
            rounds.kill_after(chance.uniform(0, LATEST))
        else:
            rounds.kill_at(place, chance.randint(1, FILES) if place in {"synced", "renamed"} else 1)
    rounds.check_everything()
    return rounds.tally


def _history(api: httpx.Client) -> dict[str, str]:
    """The titles of all commits by id, newest first, from every page."""
    found: dict[str, str] = {}
    page = api.get(f"/api/models/{REPO}/commits/main")
    found.update((commit["id"], commit["title"]) for commit in page.json())
    while "next" in page.links:
        page = api.get(page.links["next"]["url"])
        found.update((commit["id"], commit["title"]) for commit in page.json())
    return found


def _serve(data: Path, port_file: Path, reached: Reached) -> None:
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        serve_directory(Settings(data=data, port=0), port_file, reached)
    finally:
        os._exit(1)


def _port(port_file: Path) -> str:
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.005)
    return port_file.read_text().strip()
