"""Evaluations of modules: asked for, listed, and handed in by those who measured for themselves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import audit, evaluation_jobs, evaluation_sets, evaluations, module_index, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.evaluation_set_tables import EvaluationSet, EvaluationSetVersion
from petapter_registry_server.db.evaluation_sets import SetQuery
from petapter_registry_server.db.evaluation_tables import EvaluationJob
from petapter_registry_server.db.repositories import MAIN
from petapter_registry_server.db.tables import Commit, ManifestRow, Repository
from petapter_registry_server.errors import (
    EvaluationNotFoundError,
    EvaluationRefusedError,
    EvaluationSetNotFoundError,
    RowsNotHereError,
)
from petapter_registry_server.services import version_order
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.evaluation_records import (
    Finding,
    announce_result,
    detail_of,
    evaluation_row,
    evaluation_state,
)
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.policy import require_token
from petapter_registry_server.services.revisions import At, resolve_revision
from petapter_schemas.ed25519 import fingerprint_of, is_signed_by, read_public_key
from petapter_schemas.errors import SignatureError
from petapter_schemas.evaluation_result import EvaluationDetail, EvaluationStatement, parse_evaluation
from petapter_schemas.evaluation_set import EvaluationSetSpec
from petapter_schemas.measuring_api import (
    EvaluationJobList,
    EvaluationJobState,
    EvaluationList,
    EvaluationState,
    Reproduction,
)
from petapter_schemas.signature import parse_envelope

MAX_UNFINISHED = 50
"""Jobs of one repository that may wait or run."""
MAX_LISTED = 100

_Set = tuple[EvaluationSet, EvaluationSetVersion]


@dataclass(frozen=True)
class _Module:
    """A module version in a repository."""

    repository: Repository
    commit: Commit
    manifest: ManifestRow


class Evaluations:
    """The evaluations of one registry. All raise RepositoryNotFoundError where there is no such module for a caller."""

    def __init__(self, database: Database, access: Access, *, tolerance: float) -> None:
        """`tolerance` is by how much a figure that is measured again may differ from the declared one."""
        self._database = database
        self._access = access
        self._tolerance = tolerance

    def request(self, caller: Caller, repo_id: str, wanted: str, revision: str | None) -> EvaluationJobState:
        """Let a worker measure a module on an evaluation set; where that is asked for already, the job that waits.

        Args:
            caller: May maintain the module and see the evaluation set.
            repo_id: The module.
            wanted: `namespace/name` of the evaluation set, with `@version` or the newest.
            revision: Of the module; None is what search shows.

        Raises:
            PermissionDeniedError: The caller may not maintain the module.
            EvaluationSetNotFoundError: There is no such set for the caller.
            RowsNotHereError: Its rows were never given, or taken back.
            EvaluationRefusedError: The revision holds no module, it does not fit the set, or too much waits already.
        """
        with self._database.write() as session:
            module = self._module(session, self._access.maintainable(session, caller, repo_id), revision)
            named, version = self._set(session, caller, wanted)
            if version.rows_blob is None:
                raise RowsNotHereError(
                    f"the rows of {named.full_name} {version.version} are not here: whoever has them can measure the "
                    "module and hand the signed result in"
                )
            job = self._new_job(caller, module, version)
            if (known := evaluation_jobs.find_unfinished(session, job)) is None:
                _check_fits(module, version)
                if evaluation_jobs.count_unfinished(session, module.repository.id) >= MAX_UNFINISHED:
                    raise EvaluationRefusedError(f"{MAX_UNFINISHED} evaluations of {repo_id} wait: let them end")
                known = evaluation_jobs.add(session, job)
                detail = f"job {job.id} {job.manifest_sha256} {named.full_name} {version.version}"
                subject = module.repository.full_name
                audit.record(session, actor=caller.name, action="evaluation.request", subject=subject, detail=detail)
            return _job_state(session, known, module.repository)

    def jobs(self, caller: Caller, repo_id: str) -> EvaluationJobList:
        """The last jobs of a module, newest first, as far as the caller may see their evaluation sets."""
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            rows = evaluation_jobs.list_jobs(session, repository.id, limit=MAX_LISTED)
            seen = self._seen(session, caller, {row.evaluation_set_version_id for row in rows})
            told = (_job_state(session, row, repository) for row in rows if row.evaluation_set_version_id in seen)
            return EvaluationJobList(jobs=tuple(told))

    def job(self, caller: Caller, repo_id: str, job_id: int) -> EvaluationJobState:
        """One job.

        Raises:
            EvaluationNotFoundError: The module has no such job, or none that the caller may see.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            row = evaluation_jobs.find(session, repository.id, job_id)
            if row is None or not self._seen(session, caller, {row.evaluation_set_version_id}):
                raise EvaluationNotFoundError(repository.full_name, job_id)
            return _job_state(session, row, repository)

    def list(self, caller: Caller, repo_id: str, revision: str | None = None) -> EvaluationList:
        """What was measured of a module, of all its versions or of one revision, newest first.

        Results on evaluation sets that the caller may not see are left out.

        Raises:
            RevisionNotFoundError: The revision names no commit.
            EvaluationRefusedError: There is no module at the revision.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            published = _published(session, repository)
            digests = None if revision is None else [self._module(session, repository, revision).manifest.digest]
            rows = evaluations.list_evaluations(session, [repository.id], digests)
            seen = self._seen(session, caller, {row.evaluation_set_version_id for row in rows})
            counting = tuple(evaluations.that_count(session, rows).values())
            return EvaluationList(
                evaluations=tuple(
                    evaluation_state(row, repository.full_name, published.get(row.commit_oid), counting)
                    for row in rows[:MAX_LISTED]
                    if row.evaluation_set_version_id in seen
                )
            )

    def choices(self, caller: Caller, at: At) -> Sequence[str]:
        """Evaluation sets, as `request` takes them, whose rows are here and have labels that a revision gives.

        Those with rows that the manifest names come first.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, at.repo_id)
            manifest = session.get(ManifestRow, resolve_revision(session, repository, at.revision).oid)
            if manifest is None:
                return ()
            found = evaluation_sets.list_sets(session, SetQuery(limit=MAX_LISTED), self._access.viewer(caller))
        named = {str(each["evaluation_set"]["sha256"]) for each in manifest.metrics}
        fitting = [pair for pair in found if pair[1].rows_blob is not None and _lacks(manifest, pair[1]) is None]
        fitting.sort(key=lambda pair: pair[1].rows_sha256 not in named)
        return [f"{of.full_name}@{version.version}" for of, version in fitting]

    def reproduce(self, caller: Caller, repo_id: str, handed: Reproduction) -> EvaluationState:
        """Take a signed result of somebody who has the rows.

        It says that the figures are reproduced, or disputed, where they differ by more than the tolerance. A result of
        a worker counts before it.

        Raises:
            LoginRequiredError: The caller is anonymous.
            SignatureError: The envelope is none, or was not signed by that key.
            EvaluationRefusedError: It is of another module, of rows that no evaluation set here has, or says nothing of
                what the manifest declares.
        """
        require_token(caller, "write")
        finding = _verified(handed)
        with self._database.write() as session:
            repository = self._access.readable(session, caller, repo_id)
            module = _module_with(session, repository, finding.statement)
            version = self._set_of_rows(session, caller, finding.statement.detail)
            row = evaluation_row(
                self._compared(session, finding, module), repository, module.commit.oid,
                by_worker=False, measured_by=caller.name,
            )  # fmt: skip
            row.evaluation_set_version_id = version.id
            evaluations.add(session, row)
            announce_result(session, repository, row)
            refresh_index(session, repository)
            audit.record(
                session,
                actor=caller.name,
                action="evaluation.hand_in",
                subject=repository.full_name,
                detail=detail_of(row),
            )
            rows = evaluations.list_evaluations(session, [repository.id], [row.manifest_sha256])
            counting = tuple(evaluations.that_count(session, rows).values())
            number = _published(session, repository).get(row.commit_oid)
            return evaluation_state(row, repository.full_name, number, counting)

    def _module(self, session: Session, repository: Repository, revision: str | None) -> _Module:
        if revision is None:
            shown = version_order.searched(versions.list_versions(session, repository.id))
            revision = f"v{shown.version}" if shown else MAIN
        commit = resolve_revision(session, repository, revision)
        manifest = session.get(ManifestRow, commit.oid)
        if manifest is None:
            raise EvaluationRefusedError(f"there is no petapter module at {revision} of {repository.full_name}")
        return _Module(repository, commit, manifest)

    def _set(self, session: Session, caller: Caller, wanted: str) -> _Set:
        name, _, number = wanted.partition("@")
        named = self._access.evaluation_set(session, caller, name, "read")
        version = evaluation_sets.find_version(session, named.id, number or named.newest)
        if version is None:
            raise EvaluationSetNotFoundError(wanted)
        return named, version

    def _set_of_rows(self, session: Session, caller: Caller, detail: EvaluationDetail) -> EvaluationSetVersion:
        rows = detail.evaluation_set
        found = evaluations.find_set_of_rows(session, rows.sha256, self._access.viewer(caller))
        if found is None:
            raise EvaluationRefusedError(
                f"no evaluation set that you may see has rows of sha256 {rows.sha256[:12]}…: publish one, with or "
                "without its rows"
            )
        return found

    def _seen(self, session: Session, caller: Caller, version_ids: Collection[int]) -> Collection[int]:
        return evaluations.seen_sets(session, version_ids, self._access.viewer(caller))

    def _new_job(self, caller: Caller, module: _Module, version: EvaluationSetVersion) -> EvaluationJob:
        return EvaluationJob(
            repository_id=module.repository.id,
            commit_oid=module.commit.oid,
            manifest_sha256=module.manifest.digest,
            evaluation_set_version_id=version.id,
            tolerance=self._tolerance,
            status=evaluation_jobs.QUEUED,
            attempts=0,
            requested_by=caller.name,
            created_ms=now_ms(),
        )

    def _compared(self, session: Session, finding: Finding, module: _Module) -> Finding:
        """The result with what this registry knows to be declared, and its own tolerance: the sender's say nothing."""
        detail = finding.statement.detail
        facts = module_index.read_facts(session, [module.commit.oid])[module.commit.oid]
        declared = {each.metric: each.value for each in facts.metrics if each.sha256 == detail.evaluation_set.sha256}
        if not declared:
            raise EvaluationRefusedError(
                "the module declares no figure on these rows, so that there is nothing to reproduce: let a worker "
                "measure it"
            )
        if missing := sorted(declared.keys() - {figure.metric for figure in detail.figures}):
            raise EvaluationRefusedError(f"the module also declares {missing[0]} on these rows: measure all of it")
        figures = tuple(each.model_copy(update={"declared": declared.get(each.metric)}) for each in detail.figures)
        own = detail.model_copy(update={"figures": figures, "tolerance": self._tolerance})
        predicate = finding.statement.predicate.model_copy(update={"evaluation": own})
        return replace(finding, statement=finding.statement.model_copy(update={"predicate": predicate}))


def _verified(handed: Reproduction) -> Finding:
    """What an envelope says that its key signed. Raises: InputError, SignatureError."""
    key = read_public_key(handed.public_key.encode())
    envelope = parse_envelope(handed.envelope.encode(), source="the envelope")
    if not is_signed_by(envelope, key):
        raise SignatureError("the envelope was not signed by that key, or was changed afterwards")
    return Finding(parse_evaluation(envelope, source="the envelope"), envelope, fingerprint_of(key))


def _module_with(session: Session, repository: Repository, statement: EvaluationStatement) -> _Module:
    """The module version that a result is about."""
    detail = statement.detail
    if detail.repository.lower() != repository.lookup:
        raise EvaluationRefusedError(f"the result is of {detail.repository[:80]}, not of {repository.full_name}")
    found = evaluations.find_manifest(session, repository.id, statement.manifest_sha256)
    if found is None:
        raise EvaluationRefusedError(
            f"{repository.full_name} has no version whose manifest has the digest {statement.manifest_sha256[:12]}…"
        )
    return _Module(repository, session.get_one(Commit, found.commit_oid), found)


def _check_fits(module: _Module, version: EvaluationSetVersion) -> None:
    """Refuse what cannot succeed; what else does not fit is told by the worker."""
    if (unknown := _lacks(module.manifest, version)) is not None:
        raise EvaluationRefusedError(
            f"the rows have the label {unknown!r}, which the module does not give: choose a set with its labels"
        )


def _lacks(manifest: ManifestRow, version: EvaluationSetVersion) -> str | None:
    """A label of an evaluation set that a module does not give."""
    known, spec = frozenset(manifest.labels), EvaluationSetSpec.model_validate(version.document)
    return next((label for label in spec.labels if label not in known), None)


def _published(session: Session, repository: Repository) -> Mapping[str, str]:
    """The numbers of versions by commit."""
    return {row.commit_oid: row.version for row in versions.list_versions(session, repository.id)}


def _job_state(session: Session, row: EvaluationJob, repository: Repository) -> EvaluationJobState:
    version = session.get_one(EvaluationSetVersion, row.evaluation_set_version_id)
    named = session.get_one(EvaluationSet, version.evaluation_set_id)
    return EvaluationJobState.model_validate(
        {
            "id": row.id,
            "module": repository.full_name,
            "version": _published(session, repository).get(row.commit_oid),
            "commit": row.commit_oid,
            "evaluation_set": named.full_name,
            "evaluation_set_version": version.version,
            "rows_sha256": version.rows_sha256,
            "status": row.status,
            "attempts": row.attempts,
            "problem": row.problem,
            "evaluation": row.evaluation_id,
            "requested_by": row.requested_by,
            "requested": hub_date(row.created_ms),
            "started": None if row.started_ms is None else hub_date(row.started_ms),
            "finished": None if row.finished_ms is None else hub_date(row.finished_ms),
        }
    )
