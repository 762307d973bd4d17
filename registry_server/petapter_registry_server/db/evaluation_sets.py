"""Evaluation sets by name and by rows, and which of them somebody sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select, true
from sqlalchemy.orm import Session

from petapter_registry_server.db.dialects import begins_with
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.module_tables import IndexedMetric
from petapter_registry_server.db.tables import Membership, Repository
from petapter_registry_server.db.visibility import Viewer, visible

SetOrder = Literal["updated", "name"]
SetVersion = tuple[EvaluationSet, EvaluationSetVersion]


@dataclass(frozen=True)
class SetPosition:
    """A row by what lists order by: the page after it begins behind it."""

    value: int | str
    set_id: int


@dataclass(frozen=True)
class SetQuery:
    """Which sets to list.

    Attributes:
        words: Each begins a word of what the newest version says of itself, or of the name.
        namespace: Whose; None is anybody's.
        rows: How the digest of the rows of any version begins; empty is all.
        order: Newest first, or by name.
        limit: How many.
        after: Where the page before ended.
    """

    words: tuple[str, ...] = ()
    namespace: str | None = None
    rows: str = ""
    order: SetOrder = "updated"
    limit: int = 20
    after: SetPosition | None = None


def find_set(session: Session, full_name: str) -> EvaluationSet | None:
    """The set of this name, in any case."""
    return session.scalar(select(EvaluationSet).where(EvaluationSet.lookup == full_name.lower()))


def find_set_like(session: Session, key: str) -> EvaluationSet | None:
    """The set whose name looks like this one (`name_key`)."""
    return session.scalar(select(EvaluationSet).where(EvaluationSet.key == key))


def find_version(session: Session, set_id: int, version: str) -> EvaluationSetVersion | None:
    """A version of a set."""
    return session.scalar(_versions_of(set_id).where(EvaluationSetVersion.version == version))


def list_versions(session: Session, set_id: int) -> Sequence[EvaluationSetVersion]:
    """All versions of a set in the order of their publication."""
    return session.scalars(_versions_of(set_id).order_by(EvaluationSetVersion.id)).all()


def _versions_of(set_id: int) -> Select[EvaluationSetVersion]:
    return select(EvaluationSetVersion).where(EvaluationSetVersion.evaluation_set_id == set_id)


def list_sets(session: Session, query: SetQuery, viewer: Viewer) -> Sequence[SetVersion]:
    """One page of sets, each with its newest version."""
    is_newest = and_(
        EvaluationSetVersion.evaluation_set_id == EvaluationSet.id, EvaluationSetVersion.version == EvaluationSet.newest
    )
    statement = (
        select(EvaluationSet, EvaluationSetVersion)
        .join(EvaluationSetVersion, is_newest)
        .where(visible_sets(viewer), *_filters(query))
        .limit(query.limit)
    )
    rows = session.execute(_ordered(statement, query))
    return [(row[0], row[1]) for row in rows]


def _filters(query: SetQuery) -> list[ColumnElement[bool]]:
    filters = [EvaluationSet.search_text.contains(f" {word}", autoescape=True) for word in query.words]
    if query.namespace is not None:
        filters.append(EvaluationSet.lookup.startswith(f"{query.namespace.lower()}/", autoescape=True))
    if query.rows:
        named = exists().where(
            EvaluationSetVersion.evaluation_set_id == EvaluationSet.id,
            begins_with(EvaluationSetVersion.rows_sha256.expression, query.rows),
        )
        filters.append(named.correlate(EvaluationSet))
    return filters


def _ordered(
    statement: Select[EvaluationSet, EvaluationSetVersion], query: SetQuery
) -> Select[EvaluationSet, EvaluationSetVersion]:
    after = query.after
    if query.order == "name":
        if after is not None:
            statement = statement.where(EvaluationSet.lookup > after.value)
        return statement.order_by(EvaluationSet.lookup)
    if after is not None:
        tied = and_(EvaluationSet.updated_ms == after.value, EvaluationSet.id < after.set_id)
        statement = statement.where(or_(EvaluationSet.updated_ms < after.value, tied))
    return statement.order_by(EvaluationSet.updated_ms.desc(), EvaluationSet.id.desc())


def is_seen_by(session: Session, set_id: int, user_id: int) -> bool:
    """Whether a user may see a set: it is public, or of a namespace that the user has a role in."""
    viewer = Viewer(user_id, sees_all=False, sees_public=True)
    seen = select(EvaluationSet.id).where(EvaluationSet.id == set_id, visible_sets(viewer))
    return session.scalar(seen) is not None


def visible_sets(viewer: Viewer) -> ColumnElement[bool]:
    """Whether a row of `evaluation_sets` is for this viewer: roles in the namespace count, and there are no others."""
    if viewer.sees_all:
        return true()
    member = exists().where(Membership.namespace_id == EvaluationSet.namespace_id, Membership.user_id == viewer.user_id)
    return or_(
        EvaluationSet.private.is_(False) if viewer.sees_public else false(), and_(member, _covered(viewer.pattern))
    )


def _covered(pattern: str | None) -> ColumnElement[bool]:
    """A token for one repository alone is for no evaluation set."""
    if pattern is None:
        return true()
    namespace, _, name = pattern.lower().partition("/")
    return EvaluationSet.lookup.startswith(f"{namespace}/", autoescape=True) if name == "*" else false()


def shows_any_set(session: Session, viewer: Viewer, namespace_id: int) -> bool:
    """Whether a namespace has an evaluation set that somebody may see."""
    of_it = select(EvaluationSet.id).where(EvaluationSet.namespace_id == namespace_id, visible_sets(viewer))
    return session.scalar(of_it.limit(1)) is not None


def sets_of_rows(session: Session, digests: Sequence[str], viewer: Viewer) -> dict[str, tuple[str, str]]:
    """By the digest of rows the name and version of a set of these rows that somebody may see, the first published."""
    rows = session.execute(
        select(EvaluationSetVersion.rows_sha256, EvaluationSet.full_name, EvaluationSetVersion.version)
        .join(EvaluationSet, EvaluationSet.id == EvaluationSetVersion.evaluation_set_id)
        .where(EvaluationSetVersion.rows_sha256.in_(digests), visible_sets(viewer))
        .order_by(EvaluationSetVersion.id.desc())
    )
    return {digest: (name, version) for digest, name, version in rows}


def count_modules(session: Session, digests: Sequence[str], viewer: Viewer) -> dict[str, int]:
    """By the digest of rows how many modules that somebody may see have a figure on them."""
    rows = session.execute(
        select(IndexedMetric.sha256, func.count(IndexedMetric.repository_id.distinct()))
        .join(Repository, Repository.id == IndexedMetric.repository_id)
        .where(IndexedMetric.sha256.in_(digests), visible(viewer))
        .group_by(IndexedMetric.sha256)
    )
    return {row[0]: row[1] for row in rows}


def keeps_rows(sha256: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a version of a set has its rows in a blob."""
    return exists().where(EvaluationSetVersion.rows_blob == sha256)


def sets_with_blob(session: Session, sha256: str, *, limit: int) -> Sequence[str]:
    """Some of the versions whose rows a blob holds, as `namespace/name: version`."""
    rows = session.execute(
        select(EvaluationSet.full_name, EvaluationSetVersion.version)
        .join(EvaluationSetVersion, EvaluationSetVersion.evaluation_set_id == EvaluationSet.id)
        .where(EvaluationSetVersion.rows_blob == sha256)
        .order_by(EvaluationSet.full_name, EvaluationSetVersion.version)
        .limit(limit)
    )
    return [f"{name}: {version}" for name, version in rows]


def held_sets(session: Session, namespace_id: int) -> int:
    """Number of a namespace's sets."""
    held = select(func.count(EvaluationSet.id)).where(EvaluationSet.namespace_id == namespace_id)
    return session.scalar(held) or 0
