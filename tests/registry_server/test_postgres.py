"""What is particular to PostgreSQL: which databases are taken, how transactions run, what happens when it goes away."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from petapter_registry_server.app import create_app
from petapter_registry_server.db.accounts import add_user
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.db.tables import User
from petapter_registry_server.errors import DatabaseUnavailableError, DataDirectoryError
from petapter_registry_server.settings import Settings
from petapter_schemas.errors import InputError
from tests.postgres_cluster import Cluster, cluster_directory, find_programs, init, start
from tests.registry_server.conftest import Registry, fresh_database, running

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(cluster: Cluster) -> Iterator[str]:
    """A database with empty tables."""
    with fresh_database(cluster) as address:
        yield address


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(PostgreSQL(url, connections=4))
    yield opened
    opened.close()


@pytest.fixture
def postgres_registry(tmp_path: Path, url: str) -> Iterator[Registry]:
    with running(Settings(data=tmp_path / "data", database=url)) as opened:
        yield opened


def test_transactions_have_timeouts(database: Database) -> None:
    asked = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with database.read() as session:
        found = [session.execute(text(f"show {name}")).scalar() for name in asked]
    assert found == ["30s", "10s", "30s"]


def test_read_is_one_snapshot_and_writes_nothing(database: Database) -> None:
    with database.read() as session:
        assert session.execute(text("show transaction_isolation")).scalar() == "repeatable read"
        with pytest.raises(DatabaseUnavailableError), database.read() as other:
            add_user(other, "ada")
        assert session.scalars(select(User)).all() == []


def test_write_that_waited_sees_what_the_other_wrote(database: Database, url: str) -> None:
    other = Database(PostgreSQL(url, connections=1))

    def find_names() -> list[str]:
        with database.write() as session:
            return list(session.scalars(select(User.name)))

    with ThreadPoolExecutor(1) as threads:
        with other.write() as session:
            add_user(session, "ada")
            waiting = threads.submit(find_names)
            _await_a_waiting_writer(database)
            add_user(session, "bo")
        assert sorted(waiting.result()) == ["ada", "bo"]
    other.close()


def _await_a_waiting_writer(database: Database) -> None:
    question = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    deadline = time.monotonic() + 60
    with database.engine.connect() as connection:
        while connection.exec_driver_sql(question).scalar() == 0:
            assert time.monotonic() < deadline, "nobody waits for the lock"
            time.sleep(0.01)


def test_writers_of_several_processes_each_see_the_one_before(url: str) -> None:
    databases = [Database(PostgreSQL(url, connections=2)) for _ in range(4)]

    def add_next(number: int) -> None:
        with databases[number % 4].write() as session:
            add_user(session, f"user-{session.scalar(select(func.count(User.id)))}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add_next, range(40)))
    with databases[0].read() as session:
        assert set(session.scalars(select(User.name))) == {f"user-{number}" for number in range(40)}
    for database in databases:
        database.close()


def test_write_that_waits_too_long_is_503_with_retry_after(cluster: Cluster, url: str, tmp_path: Path) -> None:
    impatient = f"{url}&options=-c%20lock_timeout=50ms"
    holder = Database(PostgreSQL(url, connections=1))
    with running(Settings(data=tmp_path / "data", database=impatient)) as registry:
        with holder.write() as session:
            add_user(session, "bo")
            answer = registry.admin.create("team/tickets")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert registry.admin.create("team/tickets").status_code == 200
    holder.close()


def test_connections_that_were_cut_are_replaced(cluster: Cluster, postgres_registry: Registry) -> None:
    assert postgres_registry.admin.get("/api/whoami-v2").status_code == 200
    with cluster.connect() as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname like 'test_%'")
    assert postgres_registry.admin.get("/api/whoami-v2").status_code == 200


def test_server_that_is_gone_gives_503_until_it_is_back(tmp_path: Path) -> None:
    programs = find_programs()
    assert programs is not None
    with cluster_directory() as directory:
        init(programs, directory / "data")
        server = start(programs, directory)
        try:
            with running(Settings(data=tmp_path / "data", database=server.create("registry"))) as registry:
                assert registry.admin.create("team/tickets").status_code == 200
                server.kill()
                answers = [registry.admin.get("/api/whoami-v2"), registry.admin.create("team/other")]
                assert [(a.status_code, a.headers.get("Retry-After")) for a in answers] == [(503, "1")] * 2
                assert answers[0].json() == {"error": "the registry's database does not answer: try again in a moment"}
                server = start(programs, directory)
                assert registry.admin.get("/api/models/team/tickets").status_code == 200
                assert registry.admin.create("team/other").status_code == 200
        finally:
            server.stop()


def test_connection_to_a_server_that_became_read_only_is_dropped(database: Database) -> None:
    with database.read() as session:
        before = session.execute(text("select pg_backend_pid()")).scalar()
    with pytest.raises(DatabaseUnavailableError):
        _write_on_a_standby(database)
    with database.read() as session:
        assert session.execute(text("select pg_backend_pid()")).scalar() != before


def _write_on_a_standby(database: Database) -> None:
    with database.write() as session:
        session.execute(text("set transaction read only"))
        add_user(session, "ada")


def test_bug_in_a_statement_stays_a_bug(database: Database) -> None:
    with pytest.raises(ProgrammingError), database.write() as session:
        session.execute(text("select nonsense"))


def test_replicas_that_start_at_once_migrate_once(cluster: Cluster) -> None:
    address = cluster.create("at_once")
    databases = [Database(PostgreSQL(address, connections=2)) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(Database.migrate, databases))
    assert {database.standing() for database in databases} == {"current"}
    for database in databases:
        database.close()
    cluster.drop("at_once")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("encoding 'SQL_ASCII'", "has the encoding SQL_ASCII"),
        ("locale_provider icu icu_locale 'en-US'", "sorts text by a language"),
    ],
)
def test_database_that_treats_text_in_another_way_is_refused(
    cluster: Cluster, tmp_path: Path, options: str, found: str
) -> None:
    with cluster.connect() as connection:
        connection.execute(f"create database other template template0 {options}")
    with pytest.raises(DataDirectoryError, match=f"the PostgreSQL database 'other' {found}: make one with CREATE"):
        create_app(Settings(data=tmp_path, database=cluster.url("other")))
    cluster.drop("other")


def test_database_that_is_missing_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="the PostgreSQL database 'nothing' cannot be used: ") as caught:
        create_app(Settings(data=tmp_path, database=cluster.url("nothing")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["nonsense", "mysql://ada:secret@host/name", "postgresql://ada:secret@host", "postgresql://ada:secret@host:x/name"],
)
def test_address_that_is_none_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(InputError, match="must be given as postgresql") as caught:
        PostgreSQL(address, connections=1)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_directory_of_a_sqlite_registry_is_refused(tmp_path: Path, url: str) -> None:
    with running(Settings(data=tmp_path)):
        pass
    with pytest.raises(DataDirectoryError, match="holds a registry of its own"):
        create_app(Settings(data=tmp_path, database=url))


def test_password_is_not_in_the_settings_text() -> None:
    settings = Settings(data=Path("data"), database="postgresql://ada:hush-hush@host/name")
    assert "hush-hush" not in f"{settings!r}{settings}"
