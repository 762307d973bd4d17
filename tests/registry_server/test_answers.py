"""Answers from memory: given again while nobody commits, and never after."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from petapter_registry_server.db.answers import Answers
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.services import access
from petapter_registry_server.services.accounts import TokenLimits
from tests.registry_server.conftest import Caller, Registry


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
    again = [team.get(path) for path in paths]
    assert [answer.content for answer in again] == [answer.content for answer in first]
    assert asked == []


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
