"""The statement that the two databases spell alike and SQLAlchemy does not: an insert that minds what is there."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from petapter_registry_server.db.dialects import is_postgresql
from petapter_registry_server.db.tables import Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert_into(session: Session, table: type[Table]) -> "postgresql.Insert | sqlite.Insert":
    """An insert that can say what to do about a row that is there."""
    if not is_postgresql(session):
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 (loaded already where it is the database)

    return postgresql.insert(table)


def insert_missing(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose primary or unique key is there already is left out."""
    if rows:
        session.execute(insert_into(session, table).on_conflict_do_nothing(), list(rows))
