"""Fills a registry's tables with synthetic modules, a million in minutes: rows in bulk, indexes afterwards.

Modules are drawn as the registry derives them; beyond 20,000 they come again under other names, at other times and with
other figures. Every tenth is private, so that visibility has something to do. Nothing is left out of the index: what
search reads is what pushes would have written.
"""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
from sqlalchemy import Index, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from petapter_registry_server.db import module_tables, tables
from petapter_registry_server.services.terms import terms_of
from petapter_schemas.module_facts import ModuleFacts

DRAWN = 20_000
TEAMS = 100
FIRST_ID = 1000
BATCH = 20_000
LOADING = "loading_terms"
Row = tuple[object, ...]

COLUMNS: dict[str, tuple[str, ...]] = {
    "namespaces": ("id", "name", "key", "created_ms"),
    "repositories": ("id", "namespace_id", "full_name", "lookup", "key", "private", "created_ms", "updated_ms"),
    "commits": ("oid", "repository_id", "title", "message", "author", "created_ms"),
    "module_facts": ("commit_oid", "facts"),
    "module_index": ("repository_id", "commit_oid", "version", "updated_ms", "name", "size_bytes"),
    LOADING: ("term", "updated_ms", "repository_id"),
    "module_metrics": ("repository_id", "position", "metric", "evaluation_set", "sha256", "value"),
}
_INDEXED = (tables.Repository, tables.Commit, module_tables.IndexedModule, module_tables.IndexedTerm,
            module_tables.IndexedMetric)  # fmt: skip


class Loader(Protocol):
    """Puts rows into one kind of database."""

    def run(self, statement: str) -> None:
        """Run a statement."""

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Insert rows of the columns in COLUMNS."""

    def create(self, index: Index) -> str:
        """The statement that makes an index."""


class IntoSqlite:
    """The file of a registry that nobody serves."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -400000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN")

    def run(self, statement: str) -> None:
        self._connection.execute(statement)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        marks = ", ".join("?" * len(COLUMNS[table]))
        self._connection.executemany(f"INSERT INTO {table} ({_names(table)}) VALUES ({marks})", rows)  # noqa: S608

    def create(self, index: Index) -> str:
        return str(CreateIndex(index).compile(dialect=sqlite.dialect()))

    def close(self) -> None:
        self._connection.execute("COMMIT")
        self._connection.execute("ANALYZE")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()


class IntoPostgres:
    """A database whose user may switch off the checks of foreign keys."""

    def __init__(self, url: str) -> None:
        address = make_url(url)
        self._connection = psycopg.connect(
            dbname=address.database, user=address.username, host=str(address.query["host"])
        )
        self.run("SET session_replication_role = replica")
        self.run("SET maintenance_work_mem = '512MB'")
        self.run("SET work_mem = '256MB'")

    def run(self, statement: str) -> None:
        self._connection.execute(statement)  # type: ignore[arg-type]

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        with self._connection.cursor().copy(f"COPY {table} ({_names(table)}) FROM STDIN") as copy:  # type: ignore[arg-type]
            for row in rows:
                copy.write_row(row)

    def create(self, index: Index) -> str:
        return str(CreateIndex(index).compile(dialect=postgresql.dialect()))

    def close(self) -> None:
        self._connection.commit()
        self._connection.autocommit = True
        self.run("VACUUM ANALYZE")
        self._connection.close()


def fill(into: Loader, modules: int, draw_facts: Callable[[random.Random], ModuleFacts]) -> float:
    """Insert so many modules and return the seconds that it took; the registry has its admin already."""
    began = time.perf_counter()
    indexes = [index for table in _INDEXED for index in table.__table__.indexes]
    for index in indexes:
        into.run(f"DROP INDEX {index.name}")
    into.run(f"CREATE TEMPORARY TABLE {LOADING} (term TEXT, updated_ms BIGINT, repository_id INTEGER)")
    _add_teams(into)
    for rows in _batches(modules, draw_facts):
        for table, values in rows.items():
            into.insert(table, values)
    order = 'term COLLATE "C"' if isinstance(into, IntoPostgres) else "term"
    into.run(f"INSERT INTO module_terms SELECT * FROM {LOADING} ORDER BY {order}, updated_ms, repository_id")  # noqa: S608
    into.run(f"DROP TABLE {LOADING}")
    for index in indexes:
        into.run(into.create(index))
    into.close()
    return time.perf_counter() - began


@dataclass(frozen=True)
class _Drawn:
    """A module without a name: its facts, as they are stored, and what they are found by."""

    facts: ModuleFacts
    stored: str
    terms: tuple[str, ...]


def _add_teams(into: Loader) -> None:
    names = [(10 + number, f"team{number}", f"team{number}", 0) for number in range(TEAMS)]
    into.insert("namespaces", names)
    into.run("INSERT INTO memberships (namespace_id, user_id, role) SELECT 10, id, 'admin' FROM users")


def _batches(modules: int, draw_facts: Callable[[random.Random], ModuleFacts]) -> Iterator[dict[str, list[Row]]]:
    draw = random.Random(7)  # noqa: S311 (a benchmark)
    drawn: list[_Drawn] = []
    for begin in range(0, modules, BATCH):
        rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
        for number in range(begin, min(begin + BATCH, modules)):
            if number < DRAWN:
                drawn.append(_draw(draw_facts(draw)))
            _add_module(rows, number, drawn[number % DRAWN], draw)
        yield rows


def _draw(facts: ModuleFacts) -> _Drawn:
    nameless = tuple(term for term in terms_of("none/none", facts) if term not in {"namespace:none", "word:none"})
    return _Drawn(facts, json.dumps(facts.model_dump(mode="json")), nameless)


def _add_module(rows: dict[str, list[Row]], number: int, drawn: _Drawn, draw: random.Random) -> None:
    team, row = number % TEAMS, FIRST_ID + number
    name, oid, at = f"team{team}/module-{number}", f"{number:040x}", 1_700_000_000_000 + draw.randrange(10**10)
    rows["repositories"].append((row, 10 + team, name, name, name, number % 10 == 0, at, at))
    rows["commits"].append((oid, row, "Push", "", "ada", at))
    rows["module_facts"].append((oid, drawn.stored))
    rows["module_index"].append((row, oid, "1.0.0", at, name, drawn.facts.size_bytes))
    named = (f"namespace:team{team}", f"word:team{team}", "word:module", f"word:{number}")
    rows[LOADING] += [(term, at, row) for term in {*drawn.terms, *named}]
    for position, figure in enumerate(drawn.facts.metrics):
        value = round(0.4 + draw.random() * 0.59, 4)
        rows["module_metrics"].append((row, position, figure.metric, figure.evaluation_set, figure.sha256, value))


def _names(table: str) -> str:
    return ", ".join(COLUMNS[table])
