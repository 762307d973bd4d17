"""What was measured of modules: the rows of results, and the public keys of workers."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import case, exists, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_sets import visible_sets
from petapter_registry_server.db.evaluation_tables import Evaluation, WorkerKey
from petapter_registry_server.db.module_tables import ModuleVersion
from petapter_registry_server.db.tables import Commit, ManifestRow, Repository
from petapter_registry_server.db.visibility import Viewer


def add(session: Session, evaluation: Evaluation) -> Evaluation:
    """Record a result."""
    session.add(evaluation)
    session.flush()
    return evaluation


Counting = Mapping[tuple[int, str, str], Evaluation]
"""By repository, digest of the manifest and digest of the rows."""


def list_evaluations(
    session: Session, repository_ids: Collection[int], manifests: Collection[str] | None = None
) -> Sequence[Evaluation]:
    """The results of some repositories, of all their module versions or of some, newest first."""
    statement = select(Evaluation).where(Evaluation.repository_id.in_(repository_ids))
    if manifests is not None:
        statement = statement.where(Evaluation.manifest_sha256.in_(manifests))
    return session.scalars(statement.order_by(Evaluation.measured_ms.desc(), Evaluation.id.desc())).all()


def that_count(session: Session, found: Sequence[Evaluation]) -> Counting:
    """Of results, newest first, those that count for a module version and rows: the last of a worker, else the last.

    What the key of a worker signed that was revoked since does not count.
    """
    revoked = set(session.scalars(select(WorkerKey.sha256).where(WorkerKey.revoked_ms.is_not(None)))) if found else ()
    counting: dict[tuple[int, str, str], Evaluation] = {}
    for each in found:
        about = each.repository_id, each.manifest_sha256, each.rows_sha256
        known = counting.get(about)
        if each.key_sha256 not in revoked and (known is None or (each.by_worker and not known.by_worker)):
            counting[about] = each
    return counting


def find_manifest(session: Session, repository_id: int, digest: str) -> ManifestRow | None:
    """A commit of a repository whose manifest has this digest; a published version before others."""
    is_published = exists().where(ModuleVersion.commit_oid == ManifestRow.commit_oid)
    return session.scalar(
        select(ManifestRow)
        .join(Commit, Commit.oid == ManifestRow.commit_oid)
        .where(Commit.repository_id == repository_id, ManifestRow.digest == digest)
        .order_by(case((is_published, 0), else_=1), Commit.created_ms, Commit.oid)
        .limit(1)
    )


def find_set_of_rows(session: Session, rows_sha256: str, viewer: Viewer) -> EvaluationSetVersion | None:
    """The first published version of an evaluation set with these rows that somebody may see."""
    return session.scalar(
        select(EvaluationSetVersion)
        .join(EvaluationSet, EvaluationSet.id == EvaluationSetVersion.evaluation_set_id)
        .where(EvaluationSetVersion.rows_sha256 == rows_sha256, visible_sets(viewer))
        .order_by(EvaluationSetVersion.id)
        .limit(1)
    )


def seen_sets(session: Session, version_ids: Collection[int], viewer: Viewer) -> set[int]:
    """Those versions of evaluation sets that somebody may see."""
    return set(
        session.scalars(
            select(EvaluationSetVersion.id)
            .join(EvaluationSet, EvaluationSet.id == EvaluationSetVersion.evaluation_set_id)
            .where(EvaluationSetVersion.id.in_(version_ids), visible_sets(viewer))
        )
    )


def measured_with(session: Session, key_sha256: str) -> Sequence[Repository]:
    """The repositories that a key has signed results of."""
    signed = select(Evaluation.repository_id).where(Evaluation.key_sha256 == key_sha256)
    return session.scalars(select(Repository).where(Repository.id.in_(signed)).order_by(Repository.id)).all()


def add_key(session: Session, key: WorkerKey) -> None:
    """Let a key count."""
    session.add(key)
    session.flush()


def find_key(session: Session, sha256: str) -> WorkerKey | None:
    """A worker's key by its fingerprint."""
    return session.get(WorkerKey, sha256)


def find_key_named(session: Session, name: str) -> WorkerKey | None:
    """A worker's key by its name."""
    return session.scalar(select(WorkerKey).where(WorkerKey.name == name))


def list_keys(session: Session) -> Sequence[WorkerKey]:
    """All keys, also revoked ones, by name."""
    return session.scalars(select(WorkerKey).order_by(WorkerKey.name)).all()
