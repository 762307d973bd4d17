"""What PostgreSQL holds, asked by an event loop: shared by who waits, and never older than who asked."""

import asyncio
import select
import threading
from collections.abc import Iterator

import pytest

from petapter_registry_server.db import postgres_question
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.db.postgres_question import Question
from petapter_registry_server.db.postgres_watch import Watch
from tests.postgres_cluster import Cluster

pytestmark = pytest.mark.postgres

NAME = "watched"


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    yield cluster.create(NAME)
    cluster.drop(NAME)


@pytest.fixture
def watch(url: str) -> Iterator[Watch]:
    backend = PostgreSQL(url, connections=2)
    database = Database(backend)
    database.migrate()
    assert backend._watch is not None
    yield backend._watch
    database.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Questions that loops send from now on."""
    asked: list[bytes] = []
    send = Question.send

    def noting(self: Question, prepared: bytes) -> None:
        asked.append(prepared)
        send(self, prepared)

    monkeypatch.setattr(Question, "send", noting)
    return asked


def commit(cluster: Cluster) -> None:
    """Commit a change, as another server does."""
    with cluster.connect(NAME) as connection:
        connection.execute("INSERT INTO users (name, created_ms) VALUES ('bo', 1)")


def wait_for_answer(watch: Watch) -> None:
    """Until the answer has arrived at the socket, where the loop has not read it yet."""
    assert select.select([watch._connection.pgconn.socket], [], [], 30)[0]


def test_loop_is_told_what_a_thread_is_told(watch: Watch) -> None:
    async def both() -> tuple[str | None, str | None]:
        return await watch.state_soon(), await watch.state_soon()

    first, second = asyncio.run(both())
    assert first == second == watch.state()
    assert first is not None


def test_who_came_before_a_question_was_sent_share_its_answer(watch: Watch, sent: list[bytes]) -> None:
    async def many() -> list[str | None]:
        await watch.state_soon()  # a thread connects
        return await asyncio.gather(*(watch.state_soon() for _ in range(50)))

    assert set(asyncio.run(many())) == {watch.state()}
    assert len(sent) == 2  # the first asks alone, all others while its question is on its way


def test_who_comes_after_a_commit_sees_it_though_an_older_answer_is_on_its_way(
    watch: Watch, cluster: Cluster, sent: list[bytes]
) -> None:
    async def around_a_commit() -> tuple[str | None, str | None, str | None]:
        await watch.state_soon()
        early = asyncio.create_task(watch.state_soon())
        await asyncio.sleep(0)
        assert len(sent) == 1
        wait_for_answer(watch)
        commit(cluster)
        late = asyncio.create_task(watch.state_soon())
        return await early, await late, await asyncio.to_thread(watch.state)

    early, late, now = asyncio.run(around_a_commit())
    assert early != late == now


def test_thread_waits_for_the_question_of_the_loop(watch: Watch) -> None:
    async def both() -> tuple[str | None, str | None]:
        await watch.state_soon()
        soon = asyncio.create_task(watch.state_soon())
        await asyncio.sleep(0)
        by_thread = asyncio.create_task(asyncio.to_thread(watch.state))
        return await soon, await by_thread

    soon, by_thread = asyncio.run(both())
    assert soon == by_thread is not None


def test_loop_leaves_its_question_to_a_thread_while_a_thread_asks(watch: Watch, sent: list[bytes]) -> None:
    async def ask() -> str | None:
        await watch.state_soon()
        with watch._one_asks:
            waiting = asyncio.create_task(watch.state_soon())
            await asyncio.sleep(0)
        return await waiting

    assert asyncio.run(ask()) == watch.state()
    assert sent == []


def test_connection_that_was_cut_is_no_state_and_then_replaced(
    watch: Watch, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_registry_server.db.postgres_watch._PAUSE_S", 0.0)

    async def around_a_cut() -> tuple[str | None, str | None, str | None]:
        before = await watch.state_soon()
        with cluster.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [NAME]
            )
        return before, await watch.state_soon(), await watch.state_soon()

    before, cut, after = asyncio.run(around_a_cut())
    assert cut is None
    assert after not in {None, before}


def test_database_that_does_not_answer_in_time_is_no_state(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_question, "_LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(Question, "send", lambda _self, _prepared: None)

    async def ask() -> tuple[str | None, str | None]:
        await watch.state_soon()
        return await watch.state_soon(), await watch.state_soon()

    assert asyncio.run(ask()) == (None, None)
    assert watch._connection is None


def test_request_that_was_given_up_keeps_nobody_waiting(watch: Watch) -> None:
    async def ask() -> str | None:
        await watch.state_soon()
        given_up, other = (asyncio.create_task(watch.state_soon()) for _ in range(2))
        await asyncio.sleep(0)
        given_up.cancel()
        return await other

    assert asyncio.run(ask()) == watch.state()


def test_watch_that_is_closed_meanwhile_keeps_nobody_waiting(watch: Watch) -> None:
    async def ask() -> list[str | None]:
        await watch.state_soon()
        waiting = [asyncio.create_task(watch.state_soon()) for _ in range(3)]
        await asyncio.sleep(0)
        watch.close()
        return await asyncio.gather(*waiting)

    assert asyncio.run(ask()) == [None] * 3


def test_two_loops_are_both_answered(watch: Watch) -> None:
    states: list[str | None] = []
    both_run = threading.Barrier(2)

    async def ask() -> None:
        await asyncio.to_thread(both_run.wait)
        states.extend([await watch.state_soon() for _ in range(20)])
        await asyncio.to_thread(both_run.wait)

    threads = [threading.Thread(target=asyncio.run, args=(ask(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(states) == {watch.state()}
