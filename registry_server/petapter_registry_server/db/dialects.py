"""Which of the two databases a session talks to, and what is spelt for both so that their indexes serve."""

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

_LAST_CHARACTER = "\U0010ffff"


def is_postgresql(session: Session) -> bool:
    """Whether the database is PostgreSQL; else it is SQLite."""
    return session.get_bind().dialect.name == "postgresql"


def end_of(prefix: str) -> str:
    """A text behind all that begin with a prefix."""
    return prefix + _LAST_CHARACTER


def begins_with(text: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Whether a text begins with a prefix, as a range of an index; LIKE would leave it to collations whether it is."""
    return (text >= prefix) & (text < end_of(prefix))
