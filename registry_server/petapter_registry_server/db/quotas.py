"""How much a namespace holds and may hold: computed when asked, so that publishers meet on no common row."""

from dataclasses import dataclass

from sqlalchemy import func, select, union_all
from sqlalchemy.orm import Session

from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_sets import held_sets
from petapter_registry_server.db.people_tables import QuotaRow
from petapter_registry_server.db.tables import Blob, Commit, Repository, TreeEntry


@dataclass(frozen=True)
class Quota:
    """What a namespace may hold; None is without limit."""

    max_bytes: int | None
    max_repositories: int | None


NO_QUOTA = Quota(None, None)


def read_quota(session: Session, namespace_id: int) -> Quota | None:
    """The namespace's own quota, when it has one."""
    row = session.get(QuotaRow, namespace_id)
    return Quota(row.max_bytes, row.max_repositories) if row else None


def set_quota(session: Session, namespace_id: int, quota: Quota) -> None:
    """Give a namespace a quota of its own."""
    session.merge(
        QuotaRow(namespace_id=namespace_id, max_bytes=quota.max_bytes, max_repositories=quota.max_repositories)
    )


def held_bytes(session: Session, namespace_id: int, *, without: frozenset[str] = frozenset()) -> int:
    """Bytes of all distinct files of a namespace's living repositories and evaluation sets, some sha256 left out."""
    in_commits = (
        select(TreeEntry.sha256)
        .join(Commit, Commit.oid == TreeEntry.commit_oid)
        .join(Repository, Repository.id == Commit.repository_id)
        .where(Repository.namespace_id == namespace_id, Repository.deleted_ms.is_(None))
    )
    of_sets = (
        select(EvaluationSetVersion.rows_blob)
        .join(EvaluationSet, EvaluationSet.id == EvaluationSetVersion.evaluation_set_id)
        .where(EvaluationSet.namespace_id == namespace_id, EvaluationSetVersion.rows_blob.is_not(None))
    )
    is_held = Blob.sha256.in_(union_all(in_commits, of_sets))
    held = select(func.coalesce(func.sum(Blob.size), 0)).where(is_held, Blob.sha256.not_in(without))
    return session.scalar(held) or 0


def held_repositories(session: Session, namespace_id: int) -> int:
    """Number of a namespace's living repositories, and of its evaluation sets."""
    held = select(func.count(Repository.id)).where(
        Repository.namespace_id == namespace_id, Repository.deleted_ms.is_(None)
    )
    return (session.scalar(held) or 0) + held_sets(session, namespace_id)
