"""Which repositories somebody sees in lists, as a condition for SQL."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, false, or_, true

from petapter_registry_server.db.people_tables import Grant
from petapter_registry_server.db.tables import Membership, Repository


@dataclass(frozen=True)
class Viewer:
    """Which repositories somebody may see: all, or the public ones, and those that the user has a role on.

    `pattern` (`team/name`, `team/*`) holds the latter to what the token is for; None is all.
    """

    user_id: int | None
    sees_all: bool
    sees_public: bool
    pattern: str | None = None


def visible(viewer: Viewer) -> ColumnElement[bool]:
    """Whether a row of `repositories` is for this viewer."""
    if viewer.sees_all:
        return true()
    member = exists().where(Membership.namespace_id == Repository.namespace_id, Membership.user_id == viewer.user_id)
    granted = exists().where(Grant.repository_id == Repository.id, Grant.user_id == viewer.user_id)
    own = and_(or_(member, granted), _covered(viewer.pattern))
    return or_(Repository.private.is_(False) if viewer.sees_public else false(), own)


def _covered(pattern: str | None) -> ColumnElement[bool]:
    if pattern is None:
        return true()
    namespace, _, name = pattern.lower().partition("/")
    if name == "*":
        return Repository.lookup.startswith(f"{namespace}/", autoescape=True)
    return Repository.lookup == pattern.lower()
