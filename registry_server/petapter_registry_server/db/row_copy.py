"""Every row of one registry in the database of another, of either kind: so a team moves from SQLite to PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, bindparam, func, insert, select, text, update
from sqlalchemy import Table as SQLTable
from sqlalchemy.orm import Session

from petapter_registry_server.db.all_tables import METADATA
from petapter_registry_server.db.dialects import is_postgresql
from petapter_registry_server.db.tables import AuditRow, Blob, Repository, User

_BATCH = 1000
_SIGNS_OF_LIFE = (User, Repository, Blob, AuditRow)

Rows = Sequence[Mapping[Any, Any]]


def is_unused(session: Session) -> bool:
    """Whether nobody has worked with a database yet, whose tables are there."""
    return not any(session.execute(select(table).limit(1)).first() for table in _SIGNS_OF_LIFE)


def copy_rows(source: Session, target: Session) -> int:
    """Copy all rows, in the place of what the target holds, and return how many.

    Both must have the tables of this version. The source is read as the one state that its session sees.
    """
    tables = METADATA.sorted_tables
    for table in reversed(tables):
        target.execute(table.delete())
    copied = sum(_copy_table(table, source, target) for table in tables)
    if is_postgresql(target):
        _continue_numbering(target)
    return copied


def _copy_table(table: SQLTable, source: Session, target: Session) -> int:
    """A row that refers to another of its own table, as a commit to its parent, gets that when all are there."""
    own = [column for column in table.columns if any(key.column.table is table for key in column.foreign_keys)]
    blank = {column.name: None for column in own}
    copied = 0
    for rows in _batches(table, source):
        target.execute(insert(table), [{**row, **blank} for row in rows])
        copied += len(rows)
    for column in own:
        _fill(column, table, source, target)
    return copied


def _fill(column: Column[Any], table: SQLTable, source: Session, target: Session) -> None:
    (key,) = table.primary_key.columns
    change = update(table).where(key == bindparam("of")).values({column: bindparam("to")})
    for rows in _batches(table, source):
        filled = [{"of": row[key.name], "to": row[column.name]} for row in rows if row[column.name] is not None]
        if filled:
            target.connection().execute(change, filled)


def _batches(table: SQLTable, source: Session) -> Iterator[Rows]:
    """The rows without holding them all: PostgreSQL hands them out by a cursor on its side."""
    found = source.execute(select(table).execution_options(yield_per=_BATCH))
    for part in found.mappings().partitions():
        yield [dict(row) for row in part]


def _continue_numbering(session: Session) -> None:
    """PostgreSQL numbers new rows by counters, which rows that bring their numbers do not move."""
    for table in METADATA.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        names = {"table": table.name, "column": column.name}
        counter = session.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), names)
        if counter is not None:
            last = session.scalar(select(func.max(column))) or 0
            session.execute(text("SELECT setval(:counter, :next, false)"), {"counter": counter, "next": last + 1})
