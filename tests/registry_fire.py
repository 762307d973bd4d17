"""Clients that keep committing while servers and databases die, and what they were promised and did not get."""

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from tests.registry_server.conftest import commit_body

ATTEMPTS = 60
PAUSE_S = 0.25
PASSING = {502, 503, 504}


@dataclass(frozen=True)
class Record:
    """What one client was promised: commit ids by the number that each wrote, and when each answer came."""

    acknowledged: dict[int, str] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)
    retries: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class PatientClient:
    """Asks one replica after the other, as a client behind a balancer does: again after a lost connection or a 503."""

    def __init__(self, urls: Sequence[str], token: str, first: int) -> None:
        self._urls = urls
        self._at = first
        self._client = httpx.Client(headers={"authorization": f"Bearer {token}"}, timeout=30, trust_env=False)
        self.record = Record()

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """The first answer that is final. Raises: RuntimeError when there is none in many attempts."""
        problem = ""
        for _ in range(ATTEMPTS):
            url = self._urls[self._at % len(self._urls)]
            try:
                answer = self._client.request(method, url + path, **options)  # type: ignore[arg-type]
                if answer.status_code not in PASSING:
                    return answer
                problem = f"{answer.status_code} {answer.text}"
            except httpx.TransportError as error:
                problem = type(error).__name__
            self.record.retries.append(problem)
            self._at += 1
            time.sleep(PAUSE_S)
        raise RuntimeError(f"{method} {path}: {problem}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Load:
    """Clients with a repository each, who commit one number after the other until they are told to stop."""

    def __init__(self, urls: Sequence[str], token: str, clients: int) -> None:
        self._clients = [PatientClient(urls, token, number) for number in range(clients)]
        self._threads = ThreadPoolExecutor(clients)
        self._enough = threading.Event()
        self._running: list[Future[None]] = []

    def begin(self) -> None:
        """Start committing."""
        for number, client in enumerate(self._clients):
            self._running.append(self._threads.submit(self._work, client, f"fire/r{number}"))

    def acknowledged(self) -> int:
        """Commits that were answered so far."""
        return sum(len(client.record.acknowledged) for client in self._clients)

    def await_more(self, commits: int, within_s: float = 120) -> None:
        """Wait until so many more commits are answered."""
        target = self.acknowledged() + commits
        deadline = time.monotonic() + within_s
        while self.acknowledged() < target:
            if time.monotonic() > deadline or all(work.done() for work in self._running):
                raise RuntimeError(f"no {commits} commits in {within_s} s: {self.failures()}")
            time.sleep(0.05)

    def end(self) -> None:
        """Stop, and wait for the answers that are on their way."""
        self._enough.set()
        for work in self._running:
            work.result()
        self._threads.shutdown()

    def failures(self) -> list[str]:
        """What stayed without an answer although clients tried again, and every answer that should not have come."""
        return [failure for client in self._clients for failure in client.record.failures]

    def retries(self) -> int:
        """How often a client had to ask again."""
        return sum(len(client.record.retries) for client in self._clients)

    def lost(self) -> list[str]:
        """Acknowledged commits that are not in the history of main, or not with their bytes."""
        return [line for number, client in enumerate(self._clients) for line in _lost(client, f"fire/r{number}")]

    def longest_gap_s(self) -> float:
        """The longest time in which no client got an answer to a commit."""
        times = sorted(at for client in self._clients for at in client.record.answered_at)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def close(self) -> None:
        """Close all clients."""
        self._enough.set()
        for client in self._clients:
            client.close()

    def _work(self, client: PatientClient, repository: str) -> None:
        namespace, _, name = repository.partition("/")
        try:
            made = client.ask("POST", "/api/repos/create", json={"name": name, "organization": namespace})
            number = 0
            while made.status_code in {200, 409} and not self._enough.is_set():
                body = commit_body({"n.txt": b"%d" % number})
                answer = client.ask("POST", f"/api/models/{repository}/commit/main", content=body)
                if answer.status_code != 200:
                    client.record.failures.append(f"{repository} {number}: {answer.status_code} {answer.text}")
                    return
                client.record.acknowledged[number] = answer.json()["commitOid"]
                client.record.answered_at.append(time.monotonic())
                number += 1
        except RuntimeError as error:
            client.record.failures.append(f"{repository}: {error}")


def _lost(client: PatientClient, repository: str) -> list[str]:
    history = set(_history(client, repository))
    lost = [f"{repository} {number}" for number, oid in client.record.acknowledged.items() if oid not in history]
    for number, oid in client.record.acknowledged.items():
        if client.ask("GET", f"/{repository}/resolve/{oid}/n.txt").content != b"%d" % number:
            lost.append(f"{repository} {number}: other bytes")
    return lost


def _history(client: PatientClient, repository: str) -> list[str]:
    found: list[str] = []
    path: str | None = f"/api/models/{repository}/commits/main"
    while path is not None:
        page = client.ask("GET", path)
        found += [commit["id"] for commit in page.json()]
        path = httpx.URL(page.links["next"]["url"]).raw_path.decode() if "next" in page.links else None
    return found
