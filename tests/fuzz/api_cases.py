"""Generated requests to every route of a registry in process, and what no answer may be.

Names in paths are real ones two times out of three, so that requests get past the first look-up; every request comes
from an admin, a member, a stranger or nobody.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

from tests.fuzz.description import describe
from tests.registry_server.conftest import Registry
from tests.registry_server.evaluation_data import ROWS, send_set, spec_of
from tests.registry_server.module_bytes import module_files

NOT_OFFERED = 501
KNOWN: dict[str, list[str]] = {
    "namespace": ["team", "ada"],
    "name": ["tickets", "plain"],
    "revision": ["main", "v1.0.0", "latest"],
    "path": ["petapter.json", "README.md", "folder/a.txt"],
    "folder": ["folder"],
    "organisation": ["team"],
    "user": ["ada", "bob"],
    "version": ["1.0.0"],
    "channel": ["stable"],
    "status": ["pending", "accepted"],
}


@dataclass
class Seen:
    """Answers by status, and those that should not have come."""

    statuses: Counter[int] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)


class Requests:
    """Sends generated requests to one registry."""

    def __init__(self, registry: Registry, number: int) -> None:
        self._registry = registry
        self._chance = random.Random(number)  # noqa: S311 (repeatable)
        self._seed = number
        self.seen = Seen()
        self._tokens = fill(registry)

    def run(self, cases_per_operation: int) -> None:
        """Send so many valid and as many invalid requests to each operation."""
        for operation in operations():
            self._run(operation, GenerationMode.POSITIVE, cases_per_operation)
            if list(operation.query) or list(operation.body):  # any text is a valid part of a path
                self._run(operation, GenerationMode.NEGATIVE, cases_per_operation)

    def _run(self, operation: Any, mode: GenerationMode, count: int) -> None:
        @seed(self._seed)
        @settings(
            max_examples=count, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            self._send(case)

        with suppress(Unsatisfiable):  # not every operation has invalid requests
            send()

    def _send(self, case: Case) -> None:
        for name, values in KNOWN.items():
            if name in case.path_parameters and self._chance.random() < 2 / 3:
                case.path_parameters[name] = self._chance.choice(values)
        token = self._chance.choice(self._tokens)
        sent = case.as_transport_kwargs(base_url="http://registry.test")
        headers = {key: value for key, value in sent["headers"].items() if value.isascii() and value.isprintable()}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        body = {key: sent[key] for key in ("json", "data") if sent.get(key) is not None}
        if "data" in body and isinstance(body["data"], str | bytes):
            body["content"] = body.pop("data")
        answer = self._registry.client.request(
            sent["method"], sent["url"], params=sent.get("params"), headers=headers, follow_redirects=False, **body
        )
        self.seen.statuses[answer.status_code] += 1
        if problem := problem_of(answer):
            self.seen.bad.append(f"{sent['method']} {answer.request.url}: {problem} {answer.text[:300]} {body}"[:1500])


def problem_of(answer: Any) -> str | None:
    """What is wrong with an answer: a fault of the server, or a refusal that says nothing."""
    if answer.status_code >= 500 and answer.status_code != NOT_OFFERED:
        return f"{answer.status_code}"
    if answer.status_code < 400 or answer.request.method == "HEAD":
        return None
    try:
        document = answer.json()
    except ValueError:
        return f"{answer.status_code} without JSON"
    said = document.get("error") or document.get("errors") or document.get("detail") or document.get("title")
    return None if said else f"{answer.status_code} without a reason"


def operations() -> Iterator[Any]:
    """Every operation of the registry."""
    schema = schemathesis.openapi.from_dict(describe())
    for result in schema.get_all_operations():
        yield result.ok()


def fill(registry: Registry) -> list[str | None]:
    """Two repositories and an evaluation set to ask about, and who asks."""
    member = registry.caller("ada")
    for name in ("team/tickets", "team/plain"):
        if member.create(name).status_code == 200:
            member.published(name, module_files() if name == "team/tickets" else {"folder/a.txt": b"a" * 1000})
    member.call("POST", "/api/models/team/tickets/tag/main", json={"tag": "v1.0.0"})
    member.call("PUT", "/api/petapter/v1/modules/team/tickets/channels/stable", json={"version": "1.0.0"})
    assert send_set(member, "team", spec_of(name="tickets"), ROWS).status_code == 200
    return [registry.admin_token, member.token, registry.caller("bob").token, None]
