"""The queue of evaluations as workers see it: they take a job, keep it while they are at it, and end it.

Workers need not know of each other: a job is one worker's until its lease ends, and only who knows the claim can keep
or end it. A worker that dies lets its lease run out; another takes the job, a few times at most.
"""

import secrets
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, evaluation_jobs, evaluations
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_jobs import FAILED, QUEUED, Lease
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_tables import EvaluationJob
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.services.evaluation_records import Finding, announce_result, detail_of, evaluation_row
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.worker_keys import require_key
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.manifest import EvaluationSet as MeasuredRows

LEASE_S = 60.0
MOST_ATTEMPTS = 3

_MAX_PROBLEM = 500


@dataclass(frozen=True)
class TakenJob:
    """A job that a worker holds.

    Attributes:
        id: Its number.
        claim: The word by which the worker holds it.
        attempt: The how manieth it is.
        module: Name of the repository.
        commit_oid: Which commit of it.
        manifest_sha256: Of the module there.
        rows: What the rows are, as figures name them.
        rows_blob: Blob of the rows.
        tolerance: By how much a figure may differ from the declared one.
    """

    id: int
    claim: str
    attempt: int
    module: str
    commit_oid: str
    manifest_sha256: str
    rows: MeasuredRows
    rows_blob: str
    tolerance: float


class EvaluationQueue:
    """The queue of one registry, for one worker."""

    def __init__(self, database: Database, worker: str, *, lease_s: float = LEASE_S) -> None:
        """`worker` is the name by which others know who is at a job."""
        self._database = database
        self._worker = worker
        self._lease_ms = round(lease_s * 1000)

    def take(self) -> TakenJob | None:
        """The next job, held from now on; None where nothing waits.

        What can be measured no more is ended on the way: its module or its rows are gone, or workers died of it.
        """
        while True:
            with self._database.write() as session:
                self._give_up(session)
                lease = Lease(self._worker, secrets.token_hex(16), now_ms() + self._lease_ms)
                job = evaluation_jobs.take(session, lease, at_ms=now_ms(), most_attempts=MOST_ATTEMPTS)
                if job is None:
                    return None
                taken = _taken(session, job)
                if not isinstance(taken, str):
                    return taken
                _fail(session, job, taken)

    def keep(self, job: TakenJob) -> bool:
        """Say that the worker is still at a job; whether the job is still the worker's."""
        with self._database.write() as session:
            row = evaluation_jobs.find_held(session, job.id, job.claim)
            if row is not None:
                row.lease_ms = now_ms() + self._lease_ms
            return row is not None

    def put_back(self, job: TakenJob) -> None:
        """Give a job back that the worker cannot go on with, as it is told to stop: that attempt does not count."""
        with self._database.write() as session:
            row = evaluation_jobs.find_held(session, job.id, job.claim)
            if row is not None:
                row.status, row.attempts, row.claim, row.lease_ms = QUEUED, row.attempts - 1, None, None

    def fail(self, job: TakenJob, problem: str) -> bool:
        """End a job without a result; False where it is another worker's by now."""
        with self._database.write() as session:
            row = evaluation_jobs.find_held(session, job.id, job.claim)
            if row is not None:
                _fail(session, row, problem)
            return row is not None

    def finish(self, job: TakenJob, finding: Finding) -> bool:
        """End a job with its result; False where it is another worker's by now, whose result will count.

        Raises:
            InputError: The key that signed does not count (any more).
        """
        with self._database.write() as session:
            row = evaluation_jobs.find_held(session, job.id, job.claim)
            if row is None:
                return False
            key = require_key(session, finding.key_sha256)
            repository = session.get_one(Repository, row.repository_id)
            evaluation = evaluation_row(finding, repository, row.commit_oid, by_worker=True, measured_by=key.name)
            evaluation.evaluation_set_version_id = row.evaluation_set_version_id
            evaluations.add(session, evaluation)
            announce_result(session, repository, evaluation)
            row.status, row.finished_ms, row.evaluation_id = evaluation_jobs.DONE, now_ms(), evaluation.id
            row.lease_ms = row.claim = None
            refresh_index(session, repository)
            detail = detail_of(evaluation)
            actor = f"worker {key.name}"
            audit.record(session, actor=actor, action="evaluation.finish", subject=repository.full_name, detail=detail)
            return True

    def _give_up(self, session: Session) -> None:
        for job in evaluation_jobs.list_given_up(session, at_ms=now_ms(), most_attempts=MOST_ATTEMPTS):
            _fail(session, job, f"its worker was ended {job.attempts} times in the middle of it; see the workers' logs")


def _taken(session: Session, job: EvaluationJob) -> TakenJob | str:
    """A job with what it is about, or why that is not to be had any more."""
    repository = session.get_one(Repository, job.repository_id)
    version = session.get_one(EvaluationSetVersion, job.evaluation_set_version_id)
    if repository.deleted_ms is not None:
        return "the module was deleted"
    if version.rows_blob is None:
        return "the rows of the evaluation set were taken back"
    named = session.get_one(EvaluationSet, version.evaluation_set_id)
    spec = EvaluationSetSpec.model_validate(version.document)
    return TakenJob(
        id=job.id,
        claim=job.claim or "",
        attempt=job.attempts,
        module=repository.full_name,
        commit_oid=job.commit_oid,
        manifest_sha256=job.manifest_sha256,
        rows=MeasuredRows(name=named.full_name, sha256=version.rows_sha256, split=spec.split, n=spec.n),
        rows_blob=version.rows_blob,
        tolerance=job.tolerance,
    )


def _fail(session: Session, job: EvaluationJob, problem: str) -> None:
    job.status, job.finished_ms, job.problem = FAILED, now_ms(), " ".join(problem.split())[:_MAX_PROBLEM]
    job.lease_ms = job.claim = None
    repository = session.get_one(Repository, job.repository_id)
    detail = f"job {job.id}"
    actor = f"worker {job.worker}"
    audit.record(session, actor=actor, action="evaluation.fail", subject=repository.full_name, detail=detail)
