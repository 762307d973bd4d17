"""Answers from memory: given again while nobody commits, and never after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from sqlalchemy import text

from petapter_registry_server.db.answers import MOST_WEIGHT_AT_ONCE, Answers, NotKeptError, kept_alone
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.services import access
from petapter_registry_server.services.accounts import TokenLimits
from tests.registry_server.conftest import Backing, Caller, Registry, running


@pytest.fixture
def other(registry: Registry) -> Iterator[Database]:
    """The same database as another process sees it."""
    url = registry.settings.database
    location = PostgreSQL(url.get_secret_value(), connections=2) if url else registry.data / "registry.sqlite"
    opened = Database(location)
    yield opened
    opened.close()


def reads(registry: Registry) -> list[str]:
    """What the server's database is asked from now on."""
    asked: list[str] = []
    database: Database = registry.app.state.database
    kept = database._read_sessions

    def counting(*arguments: object, **named: object) -> object:
        asked.append("read")
        return kept(*arguments, **named)

    database._read_sessions = counting  # type: ignore[assignment]
    return asked


def test_what_was_answered_is_answered_again_without_a_read(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"a"})
    paths = ("/api/models/team/tickets", "/team/tickets/resolve/main/a.txt")
    first = [team.get(path) for path in paths]
    asked = reads(registry)

    def reads_of_another_time() -> int:
        asked.clear()
        again = [team.get(path) for path in paths]
        assert [answer.content for answer in again] == [answer.content for answer in first]
        return len(asked)

    # PostgreSQL tidies up by itself now and then, in a transaction of its own: what was kept before is read anew
    assert any(reads_of_another_time() == 0 for _ in range(3))


def test_every_caller_has_answers_of_its_own(registry: Registry, team: Caller) -> None:
    assert team.create("team/secret", private=True).status_code == 200
    assert team.get("/api/models/team/secret").status_code == 200
    assert registry.caller("bob").get("/api/models/team/secret").status_code == 404
    assert registry.anonymous.get("/api/models/team/secret").status_code == 401
    assert team.get("/api/models/team/secret").status_code == 200


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("UPDATE repositories SET private = TRUE", 404),
        ("UPDATE repositories SET deleted_ms = 1", 404),
        ("UPDATE tokens SET revoked_ms = 1", 401),
        ("UPDATE users SET disabled_ms = 1", 401),
    ],
)
def test_what_another_process_changes_holds_for_the_next_request(
    registry: Registry, team: Caller, other: Database, statement: str, status: int
) -> None:
    bob = registry.caller("bob")
    for _ in range(2):
        assert bob.get("/api/models/team/tickets").status_code == 200
    with other.write() as session:
        session.execute(text(statement))
    assert bob.get("/api/models/team/tickets").status_code == status


def test_damage_that_another_process_finds_is_not_served(registry: Registry, team: Caller, other: Database) -> None:
    team.published("team/tickets", {"a.txt": b"a"})
    for _ in range(2):
        assert team.get("/team/tickets/resolve/main/a.txt").status_code == 200
    with other.write() as session:
        session.execute(text("UPDATE blobs SET damaged_ms = 1"))
    assert team.get("/team/tickets/resolve/main/a.txt").status_code == 500


def test_token_ends_in_time_also_when_its_holder_is_remembered(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = TokenLimits(expires_ms=access.now_ms() + 86_400_000)
    issued = registry.app.state.services.accounts.issue_token("ada", "write", limits)
    caller = Caller(registry.client, issued.secret)
    assert caller.get("/api/whoami-v2").status_code == 200
    later = access.now_ms() + 86_400_001
    monkeypatch.setattr(access, "now_ms", lambda: later)
    assert caller.get("/api/whoami-v2").status_code == 401


def test_state_changes_with_every_commit_and_with_nothing_else(registry: Registry, other: Database) -> None:
    database: Database = registry.app.state.database
    before = database.state()
    assert before is not None
    with database.read() as session:
        session.execute(text("SELECT 1"))
    assert database.state() == before
    with other.write() as session:
        session.execute(text("UPDATE users SET disabled_ms = 1"))
    assert database.state() not in {None, before}


def test_failure_is_not_remembered() -> None:
    answers = Answers()

    def fail() -> int:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            answers.recall("1", "key", fail)
    assert answers.recall("1", "key", lambda: 7) == 7


def test_nothing_is_remembered_where_the_state_is_unknown() -> None:
    answers = Answers()
    assert answers.recall(None, "key", lambda: 1) == 1
    assert answers.recall(None, "key", lambda: 2) == 2


def test_answers_take_no_more_memory_than_they_may() -> None:
    answers = Answers(most_weight=10)
    for number in range(100):
        answers.recall("1", number, lambda number=number: number, weigh=lambda _: 3)
    assert [answers.recall("1", number, lambda: -1, weigh=lambda _: 3) for number in (99, 98, 97, 96)] == [
        99,
        98,
        97,
        -1,
    ]
    answers.recall("1", "huge", lambda: 1, weigh=lambda _: 11)
    assert answers.recall("1", "huge", lambda: 2, weigh=lambda _: 11) == 2


def test_answer_to_an_older_state_is_not_given_to_a_newer_one() -> None:
    answers = Answers()
    assert answers.recall("1", "key", lambda: "old") == "old"
    assert answers.recall("2", "key", lambda: "new") == "new"
    assert answers.recall("1", "key", lambda: "again") == "again"


@pytest.fixture
def thread_changes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Work that requests hand to a thread from now on."""
    handed: list[str] = []
    run_sync = anyio.to_thread.run_sync

    async def counting(work: Callable[..., object], *arguments: object, **options: Any) -> object:
        handed.append(str(work))
        return await run_sync(work, *arguments, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counting)
    return handed


def test_what_is_kept_is_answered_without_a_change_of_threads(
    registry: Registry, team: Caller, thread_changes: list[str]
) -> None:
    team.published("team/tickets", {"a.txt": b"a"})
    asked = (("GET", "/api/models/team/tickets"), ("HEAD", "/team/tickets/resolve/main/a.txt"))
    first = [team.call(*each) for each in asked]

    def changes_of_another_time() -> int:
        thread_changes.clear()
        again = [team.call(*each) for each in asked]
        assert [answer.content for answer in again] == [answer.content for answer in first]
        return len(thread_changes)

    # PostgreSQL tidies up by itself now and then, and its connection is made by a thread once in a minute
    assert any(changes_of_another_time() == 0 for _ in range(3))


def test_request_counts_once_whether_it_is_answered_at_once_or_by_a_thread(backing: Backing, tmp_path: Path) -> None:
    with running(backing.settings(tmp_path / "data", rate_limits=True, rate_limit_user=5)) as registry:
        bob = registry.caller("bob")
        assert bob.create("bob/tickets").status_code == 200
        statuses = []
        for number in range(5):
            if number % 2:
                registry.change("UPDATE repositories SET created_ms = created_ms + 1")
            statuses.append(bob.get("/api/models/bob/tickets").status_code)
        assert statuses == [200, 200, 200, 200, 429]


def test_within_kept_alone_nothing_waits_for_the_database(registry: Registry) -> None:
    database: Database = registry.app.state.database
    with kept_alone():
        with pytest.raises(NotKeptError), database.read():
            pass
        with pytest.raises(NotKeptError), database.write():
            pass
    with database.read() as session:
        assert session.execute(text("SELECT 1")).scalar() == 1


def test_what_is_kept_and_large_is_not_given_where_nothing_may_wait() -> None:
    answers = Answers()
    for weight in (MOST_WEIGHT_AT_ONCE, MOST_WEIGHT_AT_ONCE + 1):
        answers.recall("1", weight, lambda: "said", weigh=lambda _, weight=weight: weight)  # type: ignore[misc]
    with kept_alone():
        assert answers.recall("1", MOST_WEIGHT_AT_ONCE, lambda: "read") == "said"
        with pytest.raises(NotKeptError):
            answers.recall("1", MOST_WEIGHT_AT_ONCE + 1, lambda: "read")
        with pytest.raises(NotKeptError):
            answers.recall("1", "never asked", lambda: "read")
    assert answers.recall("1", MOST_WEIGHT_AT_ONCE + 1, lambda: "read") == "said"
