"""PostgreSQL databases that tests borrow: emptied in a hundredth of the second that making one takes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from tests.postgres_cluster import TEMPLATE, Cluster

_EMPTY = """
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE last_value IS NOT NULL;
END $$
"""
_SHAPE = """
SELECT md5(string_agg(concat_ws(' ', oid, xmin, relname, relkind), ',' ORDER BY oid))
FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
"""Changes with whatever is made, altered or removed in the schema, its tables, indexes and sequences."""


class LentDatabases:
    """Databases with empty tables of this version in one cluster; each is lent to one borrower at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free: list[tuple[str, str]] = []
        self._made = 0
        with cluster.connect(TEMPLATE) as connection:
            self._first_rows = _all_rows(connection)

    @contextmanager
    def borrow(self) -> Iterator[str]:
        """The address of a database."""
        name, shape = self._free.pop() if self._free else self._new()
        yield self._cluster.url(name)
        if self._is_as_new(name, shape):
            self._free.append((name, shape))
        else:
            self._cluster.drop(name)

    def _new(self) -> tuple[str, str]:
        name = f"lent_{self._made}"
        self._made += 1
        self._cluster.create(name, TEMPLATE)
        with self._cluster.connect(name) as connection:
            return name, _shape(connection)

    def _is_as_new(self, name: str, shape: str) -> bool:
        """Empty a database; False where its schema was changed or somebody does not let go of it."""
        try:
            with self._cluster.connect(name) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                if _shape(connection) != shape:
                    return False
                with connection.transaction():
                    connection.execute("SET LOCAL lock_timeout = '5s'")
                    connection.execute("SET LOCAL session_replication_role = replica")  # no foreign keys, no triggers
                    connection.execute(_EMPTY)
                    _insert(connection, self._first_rows)
        except psycopg.Error:
            return False
        return True


def _shape(connection: psycopg.Connection[Any]) -> str:
    ((shape,),) = connection.execute(_SHAPE).fetchall()
    return str(shape)


def _all_rows(connection: psycopg.Connection[Any]) -> Mapping[str, Sequence[tuple[Any, ...]]]:
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    rows = {
        table: connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
        for (table,) in tables
    }
    return {table: found for table, found in rows.items() if found}


def _insert(connection: psycopg.Connection[Any], rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    for table, own in rows.items():
        for row in own:
            values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
            connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), values), row)
