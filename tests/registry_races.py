"""Clients that race for one thing at a registry, one thread each, and what became of each round."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

import httpx

from petapter_schemas.digests import sha256_bytes
from petapter_schemas.registry_api import API
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

TIMEOUT_S = 120
TRIES = 10
"""Of what only leads to a race: on a slow machine a writer may wait for its turn longer than the server lets it."""

Attempt = Callable[[httpx.Client, int], httpx.Response]


@dataclass(frozen=True)
class Outcome:
    """What the rounds of one race came to; every status is counted, and every round without exactly one winner."""

    statuses: Counter[int] = field(default_factory=Counter)
    bad_rounds: list[str] = field(default_factory=list)


class Racers:
    """`clients` clients, spread evenly over the replicas, that all start at once; no round begins after `seconds`."""

    def __init__(self, urls: Sequence[str], token: str, clients: int, seconds: float = math.inf) -> None:
        self._stack = ExitStack()
        self._seconds = seconds
        headers = {"authorization": f"Bearer {token}"}
        self._clients = [
            self._stack.enter_context(
                httpx.Client(base_url=urls[number % len(urls)], headers=headers, timeout=TIMEOUT_S, trust_env=False)
            )
            for number in range(clients)
        ]
        self._threads = self._stack.enter_context(ThreadPoolExecutor(clients))
        self._barrier = threading.Barrier(clients)
        self.first = self._clients[0]

    def __enter__(self) -> Self:
        """Ready to race."""
        return self

    def __len__(self) -> int:
        """How many race."""
        return len(self._clients)

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def rounds(self, most: int) -> Iterator[int]:
        """Numbers of rounds from 0, as many as asked for, or as fit into the time of one race."""
        ends = time.monotonic() + self._seconds
        for number in range(most):
            if time.monotonic() > ends:
                return
            yield number

    def all_at_once(self, attempt: Attempt) -> list[httpx.Response]:
        """Let every client make its attempt, all released together."""

        def go(number: int) -> httpx.Response:
            self._barrier.wait()
            return attempt(self._clients[number], number)

        return list(self._threads.map(go, range(len(self._clients))))

    def each(self, work: Callable[[httpx.Client, int], int]) -> list[int]:
        """Let every client work on its own, all at the same time."""
        return list(self._threads.map(work, self._clients, range(len(self._clients))))


Race = Callable[[Racers, int], Outcome]


def race_for_names(racers: Racers, rounds: int) -> Outcome:
    """All make the same repository, in a namespace that nobody has: one makes it, to the others it exists."""
    outcome = Outcome()
    for number in racers.rounds(rounds):
        body = {"name": "tickets", "organization": f"names{number}x"}
        answers = racers.all_at_once(lambda client, _, body=body: client.post("/api/repos/create", json=body))
        _judge(outcome, f"name {number}", answers, losers={409})
    return outcome


def race_for_versions(racers: Racers, rounds: int) -> Outcome:
    """All publish one version of one module, each with weights of its own that lie on a branch of its own.

    One publishes it; to the others it exists, and says so. What is there afterwards is the winner's, file for file.
    """
    outcome = Outcome()
    make_repository(racers.first, "modules")
    unchanging = module_files()
    publish(racers.first, "modules", unchanging)
    racers.each(lambda client, racer: _branch(client, "modules", f"of-{racer}"))
    for number in racers.rounds(rounds):
        version = f"1.{number + 1}.0"
        modules = [module_files(version=version, fill=number * len(racers) + n + 1.0) for n in range(len(racers))]
        commits = _committed(racers, "modules", [dict(module.items() - unchanging.items()) for module in modules])
        answers = racers.all_at_once(
            lambda client, racer, tag=f"v{version}", commits=commits: client.post(
                f"/api/models/races/modules/tag/{commits[racer]}", json={"tag": tag}
            )
        )
        _judge(outcome, f"version {version}", answers, losers={409})
        winners = [racer for racer, answer in enumerate(answers) if answer.status_code == 200]
        outcome.bad_rounds.extend(f"{version}: {text}" for text in _wrong_words(answers, version))
        for racer in winners:
            outcome.bad_rounds.extend(_wrong_about(racers.first, version, commits[racer], modules[racer]))
    return outcome


def _branch(client: httpx.Client, name: str, branch: str) -> int:
    return client.post(f"/api/models/races/{name}/branch/{branch}", json={}).raise_for_status().status_code


def _committed(racers: Racers, name: str, changes: Sequence[dict[str, bytes]]) -> list[str]:
    """The commit of each racer's files, on the racer's own branch; what is told to come back comes back."""

    def commit(client: httpx.Client, racer: int) -> httpx.Response:
        body = commit_body(changes[racer])
        for _ in range(TRIES):
            answer = client.post(f"/api/models/races/{name}/commit/of-{racer}", content=body)
            if answer.status_code != 503 or "Retry-After" not in answer.headers:
                break
        return answer

    return [answer.raise_for_status().json()["commitOid"] for answer in racers.all_at_once(commit)]


def _wrong_words(answers: Sequence[httpx.Response], version: str) -> list[str]:
    """Refusals that do not say what is there already."""
    said = {answer.json()["error"] for answer in answers if answer.status_code != 200}
    return [text for text in said if text != f"Reference refs/tags/v{version} already exists"]


def _wrong_about(client: httpx.Client, version: str, oid: str, files: dict[str, bytes]) -> list[str]:
    """What is not the winner's: the tag, the version, what search shows, the list of files, or a file."""
    module = "races/modules"
    detail = client.get(f"{API}/modules/{module}").raise_for_status().json()
    tags = client.get(f"/api/models/{module}/refs").raise_for_status().json()["tags"]
    tree = client.get(f"/api/models/{module}/tree/v{version}?recursive=true").raise_for_status().json()
    claims = {
        "tag": [tag["targetCommit"] for tag in tags if tag["name"] == f"v{version}"] == [oid],
        "version": [each["commit"] for each in detail["versions"] if each["version"] == version] == [oid],
        "digest": detail["versions"][0]["digest"] == sha256_bytes(files["petapter.json"]),
        "latest": detail["latest"] == version,
        "list of files": {entry["path"] for entry in tree} == {*files, ".gitattributes"},
        **{
            path: client.get(f"/{module}/resolve/v{version}/{path}").raise_for_status().content == data
            for path, data in files.items()
        },
    }
    return [f"{version}: {claim} is not the winner's" for claim, holds in claims.items() if not holds]


def race_for_tags(racers: Racers, rounds: int) -> Outcome:
    """All give the same tag, which is no version, to the same commit: one gives it."""
    outcome = Outcome()
    make_repository(racers.first, "tags")
    for number in racers.rounds(rounds):
        body = {"tag": f"build-{number}"}
        answers = racers.all_at_once(
            lambda client, _, body=body: client.post("/api/models/races/tags/tag/main", json=body)
        )
        _judge(outcome, f"tag {number}", answers, losers={409})
    return outcome


def race_for_branches(racers: Racers, rounds: int) -> Outcome:
    """All move main from the same parent, each with other bytes: one moves it."""
    outcome = Outcome()
    make_repository(racers.first, "branches")
    for number in racers.rounds(rounds):
        parent = head(racers.first, "branches")

        def move(client: httpx.Client, racer: int, parent: str = parent, number: int = number) -> httpx.Response:
            body = commit_body({"a.txt": b"%d by %d" % (number, racer)}, parent=parent)
            return client.post("/api/models/races/branches/commit/main", content=body)

        answers = racers.all_at_once(move)
        _judge(outcome, f"branch {number}", answers, losers={412})
        if history(racers.first, "branches")[1] != parent:
            outcome.bad_rounds.append(f"branch {number}: not one commit")
    return outcome


def race_with_one_commit(racers: Racers, rounds: int) -> Outcome:
    """All commit the same bytes on the same parent: one commit comes of it, and whoever gets 200 gets that one."""
    outcome = Outcome()
    make_repository(racers.first, "commits")
    for number in racers.rounds(rounds):
        parent = head(racers.first, "commits")
        body = commit_body({"a.txt": b"commit %d" % number}, parent=parent)
        answers = racers.all_at_once(
            lambda client, _, body=body: client.post("/api/models/races/commits/commit/main", content=body)
        )
        outcome.statuses.update(answer.status_code for answer in answers)
        oids = {answer.json()["commitOid"] for answer in answers if answer.status_code == 200}
        losers = {answer.status_code for answer in answers} - {200}
        if oids != {head(racers.first, "commits")} or not losers <= {409, 412}:
            outcome.bad_rounds.append(f"commit {number}: {oids} {losers}")
        if history(racers.first, "commits")[1] != parent:
            outcome.bad_rounds.append(f"commit {number}: not one commit")
    return outcome


def increment(racers: Racers, times: int) -> tuple[int, Outcome]:
    """Every client adds 1 to a number in a file, `times` times, by compare-and-swap; returns the number at the end.

    Each signs what it writes: the same bytes on the same parent would be the same commit, and no increment of its own.
    """
    outcome = Outcome()
    make_repository(racers.first, "counter")
    publish(racers.first, "counter", {"n.txt": b"0 by nobody"})
    lock = threading.Lock()

    def work(client: httpx.Client, racer: int) -> int:
        done = 0
        while done < times:
            parent = head(client, "counter")
            value = number_in(client, parent)
            body = commit_body({"n.txt": b"%d by %d" % (value + 1, racer)}, parent=parent)
            status = client.post("/api/models/races/counter/commit/main", content=body).status_code
            with lock:
                outcome.statuses[status] += 1
            done += status == 200
            if status not in {200, 412}:
                return done
        return done

    racers.each(work)
    return number_in(racers.first, "main"), outcome


def number_in(client: httpx.Client, revision: str) -> int:
    """The number that the file of `races/counter` begins with."""
    return int(client.get(f"/races/counter/resolve/{revision}/n.txt").content.split()[0])


def make_repository(client: httpx.Client, name: str) -> None:
    """Make `races/<name>`."""
    client.post("/api/repos/create", json={"name": name, "organization": "races"}).raise_for_status()


def publish(client: httpx.Client, name: str, files: dict[str, bytes]) -> None:
    """Commit to `races/<name>` whatever its head is."""
    client.post(f"/api/models/races/{name}/commit/main", content=commit_body(files)).raise_for_status()


def head(client: httpx.Client, name: str) -> str:
    """The commit that main of `races/<name>` is at."""
    oid: str = client.get(f"/api/models/races/{name}").raise_for_status().json()["sha"]
    return oid


def history(client: httpx.Client, name: str) -> list[str]:
    """The ids of the newest commits of main of `races/<name>`."""
    page = client.get(f"/api/models/races/{name}/commits/main?limit=5").raise_for_status().json()
    return [commit["id"] for commit in page]


def _judge(outcome: Outcome, name: str, answers: Sequence[httpx.Response], losers: set[int]) -> None:
    statuses = Counter(answer.status_code for answer in answers)
    outcome.statuses.update(statuses)
    if statuses[200] != 1 or not set(statuses) <= {200} | losers:
        outcome.bad_rounds.append(f"{name}: {dict(statuses)}")
