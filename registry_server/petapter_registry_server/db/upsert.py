"""The statement that the two databases spell alike and SQLAlchemy does not: an insert that minds what is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from petapter_registry_server.db.tables import Table


def insert_into(session: Session, table: type[Table]) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say what to do about a row that is there."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def insert_missing(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose primary or unique key is there already is left out."""
    if rows:
        session.execute(insert_into(session, table).on_conflict_do_nothing(), list(rows))
