"""The rows that an export tells, without the numbers by which tables refer to each other."""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.former_names import FormerName
from petapter_registry_server.db.gates import Gate
from petapter_registry_server.db.tables import AuditRow, Commit, Repository

_BATCH = 1000


def repositories_of(session: Session, only: str | None) -> Sequence[tuple[Repository, str | None]]:
    """All repositories, or those of a namespace, or one, by name, with the mode of their gate; also deleted ones."""
    rows = session.execute(
        select(Repository, Gate.mode)
        .outerjoin(Gate, Gate.repository_id == Repository.id)
        .where(_within(Repository.lookup, only.lower() if only else None))
        .order_by(Repository.lookup)
    )
    return [(row[0], row[1]) for row in rows]


def evaluation_sets_of(session: Session, only: str | None) -> Sequence[tuple[EvaluationSet, EvaluationSetVersion]]:
    """All versions of all evaluation sets, or of those of a namespace, or of one, by name."""
    rows = session.execute(
        select(EvaluationSet, EvaluationSetVersion)
        .join(EvaluationSetVersion, EvaluationSetVersion.evaluation_set_id == EvaluationSet.id)
        .where(_within(EvaluationSet.lookup, only.lower() if only else None))
        .order_by(EvaluationSet.lookup, EvaluationSetVersion.id)
    )
    return [(row[0], row[1]) for row in rows]


def former_names_of(session: Session, repository_id: int) -> Sequence[str]:
    """Names that a repository had before, in lower case."""
    return session.scalars(
        select(FormerName.lookup).where(FormerName.repository_id == repository_id).order_by(FormerName.moved_ms)
    ).all()


def commits_of(session: Session, repository_id: int) -> Iterator[Commit]:
    """All commits of a repository, oldest first."""
    yield from session.scalars(
        select(Commit)
        .where(Commit.repository_id == repository_id)
        .order_by(Commit.created_ms, Commit.oid)
        .execution_options(yield_per=_BATCH)
    )


def audit_of(session: Session, only: str | None) -> Iterator[AuditRow]:
    """The audit, or what it says of a namespace and its repositories, or of one, oldest first."""
    yield from session.scalars(
        select(AuditRow)
        .where(_within(AuditRow.subject, only))
        .order_by(AuditRow.id)
        .execution_options(yield_per=_BATCH)
    )


def _within(name: InstrumentedAttribute[str], only: str | None) -> ColumnElement[bool]:
    if only is None:
        return true()
    return or_(name == only, name.startswith(f"{only}/", autoescape=True))
