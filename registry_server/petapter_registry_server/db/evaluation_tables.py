"""The tables of evaluations: jobs, what was measured, and the keys of workers; times as in tables.py."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.module_tables import ByteOrder
from petapter_registry_server.db.tables import Table


class EvaluationJob(Table):
    """A module version to be measured on an evaluation set.

    Attributes:
        status: queued, running, done or failed.
        attempts: How often a worker has taken it.
        worker: Who took it last.
        claim: A random word that the worker who took it last knows: with another one nobody ends it.
        lease_ms: Until when a running job is that worker's; later, any may take it.
        problem: Why it failed, in a line.
        evaluation_id: What came out.
    """

    __tablename__ = "evaluation_jobs"
    __table_args__ = (
        Index("ix_evaluation_jobs_status", "status", "created_ms"),
        Index("ix_evaluation_jobs_repository_id", "repository_id", "created_ms"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"))
    manifest_sha256: Mapped[str]
    evaluation_set_version_id: Mapped[int] = mapped_column(ForeignKey("evaluation_set_versions.id"))
    tolerance: Mapped[float] = mapped_column(Double)
    status: Mapped[str]
    attempts: Mapped[int]
    worker: Mapped[str | None]
    claim: Mapped[str | None]
    lease_ms: Mapped[int | None] = mapped_column(BigInteger)
    problem: Mapped[str | None]
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluations.id"))
    requested_by: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    finished_ms: Mapped[int | None] = mapped_column(BigInteger)


class Evaluation(Table):
    """What somebody measured of a module version on an evaluation set, and signed. Rows never change.

    Attributes:
        status: `verified` or `disputed` by a worker of this registry; `reproduced` or `disputed` by somebody else.
        by_worker: Whether a worker of this registry measured.
        measured_by: Name of the worker's key, or of the user.
        key_sha256: Fingerprint of the key that signed.
        metrics: One object a figure: `metric`, `value`, `low`, `high`, `level`, `declared` (null where the manifest
            says nothing on these rows), `is_within` (null likewise).
        confusion: `{"labels": […], "counts": [[…]]}`: rows of each label by the label they were given; null where there
            are too many labels, or several a row.
        envelope: The DSSE envelope of the in-toto statement, as text.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        Index("ix_evaluations_repository_id", "repository_id", "manifest_sha256", "rows_sha256", "measured_ms"),
        Index("ix_evaluations_rows_sha256", "rows_sha256", "repository_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"))
    manifest_sha256: Mapped[str]
    evaluation_set_version_id: Mapped[int] = mapped_column(ForeignKey("evaluation_set_versions.id"))
    rows_sha256: Mapped[str] = mapped_column(ByteOrder)
    evaluation_set: Mapped[str]
    split: Mapped[str]
    n: Mapped[int]
    status: Mapped[str]
    by_worker: Mapped[bool]
    measured_by: Mapped[str]
    key_sha256: Mapped[str]
    tolerance: Mapped[float] = mapped_column(Double)
    metrics: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    confusion: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    envelope: Mapped[str]
    measured_ms: Mapped[int] = mapped_column(BigInteger)


class WorkerKey(Table):
    """A public key (PEM) whose holder measures for this registry; a revoked one stays, for what it signed."""

    __tablename__ = "worker_keys"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    public_key: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    revoked_ms: Mapped[int | None] = mapped_column(BigInteger)
