"""The search index: facts by commit, and for each module that search shows its terms and figures."""

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import delete, exists, insert, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.module_tables import CommitFacts, IndexedMetric, IndexedModule, IndexedTerm
from petapter_registry_server.db.tables import Commit, ManifestRow, Repository, TreeEntry
from petapter_schemas.module_facts import ModuleFacts


def put_facts(session: Session, commit_oid: str, facts: ModuleFacts | None) -> None:
    """Record what is known of a commit, in the place of what was."""
    session.execute(delete(CommitFacts).where(CommitFacts.commit_oid == commit_oid))
    if facts is not None:
        session.execute(insert(CommitFacts).values(commit_oid=commit_oid, facts=facts.model_dump(mode="json")))


def read_facts(session: Session, commit_oids: Collection[str]) -> dict[str, ModuleFacts]:
    """The facts of those commits that hold a module or an adapter."""
    rows = session.execute(
        select(CommitFacts.commit_oid, CommitFacts.facts).where(CommitFacts.commit_oid.in_(commit_oids))
    )
    return {oid: ModuleFacts.model_validate(facts) for oid, facts in rows}


def remove(session: Session, repository_id: int) -> None:
    """Let search forget a module."""
    for table in (IndexedTerm, IndexedMetric, IndexedModule):
        session.execute(delete(table).where(table.repository_id == repository_id))


def put(session: Session, row: IndexedModule, terms: Collection[str], facts: ModuleFacts) -> None:
    """Let search find a module by these terms and the figures of its facts, in the place of what was."""
    remove(session, row.repository_id)
    session.add(row)
    session.flush()
    place = {"updated_ms": row.updated_ms, "repository_id": row.repository_id}
    session.execute(insert(IndexedTerm), [{"term": term, **place} for term in sorted(terms)])
    figures = [
        {
            "repository_id": row.repository_id,
            "position": position,
            "metric": figure.metric,
            "evaluation_set": figure.evaluation_set.casefold(),
            "sha256": figure.sha256,
            "value": figure.value,
            "status": figure.status,
        }
        for position, figure in enumerate(facts.metrics)
    ]
    if figures:
        session.execute(insert(IndexedMetric), figures)


def find_indexed(session: Session, repository_id: int) -> IndexedModule | None:
    """What search knows of a repository."""
    return session.get(IndexedModule, repository_id)


def is_unfilled(session: Session) -> bool:
    """Whether there are modules but no facts of any, as in a database that was made before the index."""
    has_modules, has_facts = session.execute(
        select(exists(select(ManifestRow.commit_oid)), exists(select(CommitFacts.commit_oid)))
    ).one()
    return bool(has_modules and not has_facts)


def living_repositories(session: Session) -> Sequence[int]:
    """Ids of the repositories that are not deleted."""
    return session.scalars(select(Repository.id).where(Repository.deleted_ms.is_(None)).order_by(Repository.id)).all()


def indexed_repositories(session: Session) -> Sequence[int]:
    """Ids of the repositories that search knows."""
    return session.scalars(select(IndexedModule.repository_id).order_by(IndexedModule.repository_id)).all()


def commits_with(session: Session, repository_id: int, paths: Collection[str]) -> Iterator[str]:
    """Commits of a repository that hold one of some files at least."""
    held = exists().where(TreeEntry.commit_oid == Commit.oid, TreeEntry.path.in_(paths))
    yield from session.scalars(select(Commit.oid).where(Commit.repository_id == repository_id, held)).all()
