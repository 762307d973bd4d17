"""The list of repositories: filters, order and pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import BigInteger, ColumnElement, and_, cast, exists, func, or_, select, true
from sqlalchemy.orm import Session

from petapter_registry_server.db.downloads import DownloadTotal
from petapter_registry_server.db.gates import Gate
from petapter_registry_server.db.module_tables import CommitFacts
from petapter_registry_server.db.repositories import BRANCH, MAIN
from petapter_registry_server.db.tables import CardRow, CardTag, Commit, Reference, Repository
from petapter_registry_server.db.visibility import Viewer, visible

Order = Literal["lastModified", "createdAt", "downloads"]
_DOWNLOADS = func.coalesce(DownloadTotal.total, 0)
_ORDERS: Mapping[Order, ColumnElement[int]] = {
    "lastModified": Repository.updated_ms.expression,
    "createdAt": Repository.created_ms.expression,
    "downloads": _DOWNLOADS,
}


@dataclass(frozen=True)
class Position:
    """The last repository of the page before: the value it was ordered by, and its row id."""

    value: int
    id: int


@dataclass(frozen=True)
class ListQuery:
    """What to list.

    Attributes:
        author: The namespace.
        words: Substrings, case-folded; all must match.
        tags: All must match.
        pipeline_tag: The card's.
        order: Highest first.
        limit: Most rows.
        after: Where the page before ended.
        gated: Those alone that are gated, or that are not; None for all.
        parameters: The fewest and the most parameters that a module or adapter has by its tensors; None is no bound.
            Under a bound, repositories of which no number is known are left out.
    """

    author: str | None = None
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    order: Order = "lastModified"
    limit: int = 100
    after: Position | None = None
    gated: bool | None = None
    parameters: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Listed:
    """A repository with the head of its main branch and that commit's card; `place` is what it was ordered by."""

    repository: Repository
    commit: Commit
    card: CardRow
    place: int = 0


def list_repositories(session: Session, query: ListQuery, viewer: Viewer) -> Sequence[Listed]:
    """One page, newest first."""
    column = _ORDERS[query.order]
    statement = (
        select(Repository, Commit, CardRow, column)
        .join(Reference, and_(Reference.repository_id == Repository.id, Reference.kind == BRANCH))
        .join(Commit, Commit.oid == Reference.commit_oid)
        .join(CardRow, CardRow.commit_oid == Commit.oid)
        .outerjoin(DownloadTotal, DownloadTotal.repository_id == Repository.id)
        .where(Reference.name == MAIN, Repository.deleted_ms.is_(None), visible(viewer), *_filters(query))
        .order_by(column.desc(), Repository.id.desc())
        .limit(query.limit)
    )
    if query.after is not None:
        tied = and_(column == query.after.value, Repository.id < query.after.id)
        statement = statement.where(or_(column < query.after.value, tied))
    return [Listed(*row) for row in session.execute(statement)]


def position_of(row: Listed) -> Position:
    """Where the next page begins after this row."""
    return Position(row.place, row.repository.id)


def list_own(session: Session, viewer: Viewer, namespace: str | None) -> Sequence[Repository]:
    """The living repositories that somebody has a role on, or those in one namespace, by name."""
    own = true() if viewer.sees_all and namespace else visible(replace(viewer, sees_all=False, sees_public=False))
    statement = select(Repository).where(Repository.deleted_ms.is_(None), own)
    if namespace:
        statement = statement.where(Repository.lookup.startswith(f"{namespace.lower()}/", autoescape=True))
    return session.scalars(statement.order_by(Repository.lookup)).all()


def _filters(query: ListQuery) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.author:
        filters.append(Repository.lookup.startswith(f"{query.author.lower()}/", autoescape=True))
    if query.pipeline_tag:
        filters.append(CardRow.pipeline_tag == query.pipeline_tag)
    filters.extend(exists().where(CardTag.commit_oid == Commit.oid, CardTag.tag == tag) for tag in query.tags)
    if query.gated is not None:
        is_gated = exists().where(Gate.repository_id == Repository.id)
        filters.append(is_gated if query.gated else ~is_gated)
    filters.extend(_within(query.parameters))
    filters.extend(
        or_(CardRow.search_text.contains(word, autoescape=True), Repository.lookup.contains(word, autoescape=True))
        for word in query.words
    )
    return filters


def _within(parameters: tuple[int | None, int | None]) -> list[ColumnElement[bool]]:
    """Bounds on the parameters that were counted in the tensors of a commit."""
    fewest, most = parameters
    count = cast(CommitFacts.facts["parameters"].as_string(), BigInteger)
    bounds = [count >= fewest] if fewest is not None else []
    bounds += [count <= most] if most is not None else []
    return [exists().where(CommitFacts.commit_oid == Commit.oid, *bounds)] if bounds else []


def shows_any(session: Session, viewer: Viewer, namespace_id: int) -> bool:
    """Whether a namespace has a living repository that somebody may see."""
    living = (Repository.namespace_id == namespace_id, Repository.deleted_ms.is_(None))
    return session.scalar(select(Repository.id).where(*living, visible(viewer)).limit(1)) is not None
