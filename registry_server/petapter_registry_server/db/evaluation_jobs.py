"""The queue of evaluations: which job a worker gets next, for how long it is that worker's, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.evaluation_tables import EvaluationJob

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
_UNFINISHED = (QUEUED, RUNNING)


@dataclass(frozen=True)
class Lease:
    """What a worker gets with a job: until when it is the worker's, and the word by which it is known."""

    worker: str
    claim: str
    until_ms: int


@dataclass(frozen=True)
class QueueLength:
    """How many jobs there are by status, and when the oldest of those that wait was asked for."""

    by_status: dict[str, int]
    oldest_queued_ms: int | None


def add(session: Session, job: EvaluationJob) -> EvaluationJob:
    """Put a job at the end of the queue."""
    session.add(job)
    session.flush()
    return job


def find_unfinished(session: Session, like: EvaluationJob) -> EvaluationJob | None:
    """A job that measures the same and has not ended."""
    return session.scalar(
        select(EvaluationJob).where(
            EvaluationJob.repository_id == like.repository_id,
            EvaluationJob.commit_oid == like.commit_oid,
            EvaluationJob.evaluation_set_version_id == like.evaluation_set_version_id,
            EvaluationJob.status.in_(_UNFINISHED),
        )
    )


def count_unfinished(session: Session, repository_id: int) -> int:
    """How many jobs of a repository wait or run."""
    condition = (EvaluationJob.repository_id == repository_id, EvaluationJob.status.in_(_UNFINISHED))
    return session.scalar(select(func.count(EvaluationJob.id)).where(*condition)) or 0


def take(session: Session, lease: Lease, *, at_ms: int, most_attempts: int) -> EvaluationJob | None:
    """The job that waits longest, or whose worker has not been heard of; from now on that of another worker.

    On PostgreSQL a row that somebody else is about to take is passed over; on SQLite nobody else writes.
    """
    free = or_(EvaluationJob.status == QUEUED, (EvaluationJob.status == RUNNING) & (EvaluationJob.lease_ms < at_ms))
    job = session.scalar(
        select(EvaluationJob)
        .where(free, EvaluationJob.attempts < most_attempts)
        .order_by(EvaluationJob.created_ms, EvaluationJob.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if job is not None:
        job.status, job.attempts, job.started_ms = RUNNING, job.attempts + 1, at_ms
        job.worker, job.claim, job.lease_ms = lease.worker, lease.claim, lease.until_ms
        session.flush()
    return job


def list_given_up(session: Session, *, at_ms: int, most_attempts: int) -> Sequence[EvaluationJob]:
    """Jobs that have been taken as often as they may be, by workers of whom nothing is heard."""
    return session.scalars(
        select(EvaluationJob)
        .where(EvaluationJob.status == RUNNING, EvaluationJob.lease_ms < at_ms, EvaluationJob.attempts >= most_attempts)
        .with_for_update(skip_locked=True)
    ).all()


def find_held(session: Session, job_id: int, claim: str) -> EvaluationJob | None:
    """A running job, while it is the one worker's that knows its claim."""
    return session.scalar(
        select(EvaluationJob)
        .where(EvaluationJob.id == job_id, EvaluationJob.claim == claim, EvaluationJob.status == RUNNING)
        .with_for_update()
    )


def find(session: Session, repository_id: int, job_id: int) -> EvaluationJob | None:
    """A job of a repository."""
    return session.scalar(
        select(EvaluationJob).where(EvaluationJob.repository_id == repository_id, EvaluationJob.id == job_id)
    )


def list_jobs(session: Session, repository_id: int, *, limit: int) -> Sequence[EvaluationJob]:
    """The last jobs of a repository, newest first."""
    return session.scalars(
        select(EvaluationJob)
        .where(EvaluationJob.repository_id == repository_id)
        .order_by(EvaluationJob.created_ms.desc(), EvaluationJob.id.desc())
        .limit(limit)
    ).all()


def measure_queue(session: Session) -> QueueLength:
    """How long the queue is."""
    counted = session.execute(select(EvaluationJob.status, func.count()).group_by(EvaluationJob.status))
    by_status: dict[str, int] = {row[0]: row[1] for row in counted}
    oldest = session.scalar(select(func.min(EvaluationJob.created_ms)).where(EvaluationJob.status == QUEUED))
    return QueueLength({status: by_status.get(status, 0) for status in (QUEUED, RUNNING, DONE, FAILED)}, oldest)
