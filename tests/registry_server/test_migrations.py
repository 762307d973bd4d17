"""The steps from one version of the tables to the next, on both kinds of database."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, BigInteger, Boolean, Column, Connection, Float, Integer, MetaData, String, func, select
from sqlalchemy import Table as SQLTable

from petapter_registry_server.db import schema
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.db.tables import Table
from petapter_registry_server.errors import DataDirectoryError
from tests.postgres_cluster import Cluster
from tests.registry_process import run

EMPTY = "empty_tables"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens one and the same database, which has no tables at first."""
    opened: list[Database] = []

    def remember(database: Database) -> Database:
        opened.append(database)
        return database

    if request.param == "sqlite":
        yield lambda: remember(Database(tmp_path / "registry.sqlite"))
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.create(EMPTY)
        yield lambda: remember(Database(PostgreSQL(url, connections=2)))
    for database in opened:
        database.close()
    if request.param == "postgres":
        cluster.drop(EMPTY)


def test_migrations_make_exactly_the_tables_of_the_code(empty: Callable[[], Database]) -> None:
    database = empty()
    database.migrate()
    with database.read() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Table.metadata) == []


def test_versions_are_those_of_the_steps_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    steps = ScriptDirectory.from_config(config).walk_revisions()
    assert schema.revisions() == tuple(step.revision for step in steps)[::-1]


def test_every_step_keeps_what_it_finds_and_makes_the_tables_of_the_code(empty: Callable[[], Database]) -> None:
    """Every table has a row at every step; none of the filled values is one that a step is there to change."""
    database = empty()
    for revision in schema.revisions():
        with database.write() as session:
            connection = session.connection()
            before = {table.name: _contents(connection, table) for table in _reflected(connection)}
            assert all(before.values()), revision
            columns = {table.name: list(table.columns.keys()) for table in _reflected(connection)}
            schema.upgrade(connection, revision)
            after = {table.name: table for table in _reflected(connection)}
            for name, rows in before.items():
                assert _contents(connection, after[name], columns[name]) == rows, f"{revision}: {name}"
            fill_empty_tables(connection)
    assert database.standing() == "current"
    with database.read() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Table.metadata) == []


def test_contents_are_told_apart_by_a_single_value(empty: Callable[[], Database]) -> None:
    """Else the test above would compare nothing."""
    database = empty()
    with database.write() as session:
        connection = session.connection()
        schema.upgrade(connection, schema.revisions()[0])
        fill_empty_tables(connection)
        (audit,) = [table for table in _reflected(connection) if table.name == "audit"]
        before = _contents(connection, audit)
        connection.execute(audit.update().values(detail="changed"))
        assert _contents(connection, audit) != before


def test_database_without_tables_is_behind_and_then_current(empty: Callable[[], Database]) -> None:
    database = empty()
    assert database.standing() == "behind"
    with pytest.raises(DataDirectoryError, match="older version: run 'petapter-registry migrate'"):
        database.check()
    database.migrate()
    database.check()
    database.migrate()
    assert database.standing() == "current"


def test_tables_of_a_newer_version_are_refused_in_one_line(empty: Callable[[], Database]) -> None:
    database = empty()
    database.migrate()
    with database.write() as session:
        session.connection().exec_driver_sql("update alembic_version set version_num = '9999'")
    assert database.standing() == "newer"
    for refused in (database.migrate, database.check):
        with pytest.raises(DataDirectoryError, match=r"^[^\n]* was written by a newer petapter-registry: upgrade it$"):
            refused()


@pytest.mark.postgres
def test_migrate_command_checks_and_makes_the_tables(cluster: Cluster) -> None:
    url = cluster.create("by_command")
    checked = run("petapter-registry", "migrate", "--database", url, "--check")
    assert (checked.returncode, checked.stdout, checked.stderr.count("\n")) == (1, "", 1)
    assert "has tables of an older version" in checked.stderr
    for _ in range(2):
        done = run("petapter-registry", "migrate", "--database", url)
        assert (done.returncode, done.stderr) == (0, "")
    done = run("petapter-registry", "migrate", "--database", url, "--check")
    assert done.stdout == "the PostgreSQL database 'by_command': the tables are those of this version\n"
    cluster.drop("by_command")


def test_migrate_command_without_a_registry_is_one_line() -> None:
    done = run("petapter-registry", "migrate")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "which registry? Give --data DIR, or --database URL for one on PostgreSQL, or --config FILE" in done.stderr


def _reflected(connection: Connection) -> list[SQLTable]:
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def _contents(connection: Connection, table: SQLTable, columns: Sequence[str] | None = None) -> list[str]:
    """The rows of a table, in an order of their own; of some columns, or of all."""
    chosen = [table.columns[name] for name in columns or table.columns.keys()]
    return sorted(repr(tuple(row)) for row in connection.execute(select(*chosen)))


def fill_empty_tables(connection: Connection) -> None:
    """One row in each table that has none; what a column refers to has been filled before."""
    for table in _reflected(connection):
        if connection.scalar(select(func.count()).select_from(table)) == 0:
            connection.execute(table.insert().values({c.name: _value(connection, c) for c in table.columns}))


def _value(connection: Connection, column: Column[Any]) -> object:
    for key in column.foreign_keys:
        return connection.scalar(select(key.column).limit(1))  # None where a table refers to itself
    kinds: list[tuple[type, object]] = [
        (Boolean, True), (BigInteger, 1 << 40), (Integer, 1), (Float, 0.5), (JSON, {"a": ["ä"]}),
        (String, f"{column.name} ä"),
    ]  # fmt: skip
    return next(value for kind, value in kinds if isinstance(column.type, kind))
