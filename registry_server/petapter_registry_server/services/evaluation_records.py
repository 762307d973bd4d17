"""A signed result as a row, and rows as the API and the pages tell them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date, now_ms
from petapter_registry_server.db import versions
from petapter_registry_server.db.evaluation_set_tables import EvaluationSetVersion
from petapter_registry_server.db.evaluation_tables import Evaluation
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.services.events import Evaluated, announce_evaluation
from petapter_schemas.evaluation_result import ComparedFigure, EvaluationStatement, are_within
from petapter_schemas.measuring_api import EvaluationState, MeasuredFigure
from petapter_schemas.module_facts import MetricFacts
from petapter_schemas.signature import Envelope

MeasuredStatus = Literal["verified", "reproduced", "disputed"]


@dataclass(frozen=True)
class Finding:
    """A result whose signature was verified.

    Attributes:
        statement: What was found.
        envelope: In which it came.
        key_sha256: Fingerprint of the key that signed.
    """

    statement: EvaluationStatement
    envelope: Envelope
    key_sha256: str


def evaluation_row(
    finding: Finding, repository: Repository, commit_oid: str, *, by_worker: bool, measured_by: str
) -> Evaluation:
    """The row of a result; which version of a set it is about is the caller's to say."""
    detail = finding.statement.detail
    is_within = are_within(detail.figures, detail.tolerance)
    return Evaluation(
        repository_id=repository.id,
        commit_oid=commit_oid,
        manifest_sha256=finding.statement.manifest_sha256,
        rows_sha256=detail.evaluation_set.sha256,
        evaluation_set=detail.evaluation_set.name,
        split=detail.evaluation_set.split,
        n=detail.evaluation_set.n,
        status=status_of(is_within, by_worker=by_worker),
        by_worker=by_worker,
        measured_by=measured_by,
        key_sha256=finding.key_sha256,
        tolerance=detail.tolerance,
        metrics=[_metric(figure, detail.tolerance) for figure in detail.figures],
        confusion=None if detail.confusion is None else {"labels": detail.labels, "counts": detail.confusion},
        envelope=finding.envelope.to_bytes().decode("ascii"),
        measured_ms=now_ms(),
    )


def status_of(is_within: bool | None, *, by_worker: bool) -> MeasuredStatus:  # noqa: FBT001 (as the figure says it)
    """What a measured figure, or all of a result, comes to.

    Args:
        is_within: Whether it is what was declared; None where nothing was.
        by_worker: Whether a worker of this registry measured it.
    """
    if is_within is False:
        return "disputed"
    return "verified" if by_worker else "reproduced"


def detail_of(row: Evaluation) -> str:
    """What the audit says of a result."""
    return f"{row.status} {row.manifest_sha256} {row.evaluation_set} {row.rows_sha256} key {row.key_sha256}"


def announce_result(session: Session, repository: Repository, row: Evaluation) -> None:
    """Tell webhooks of every figure of a result; to be called in the write that records it."""
    published = {each.commit_oid: each.version for each in versions.list_versions(session, repository.id)}
    of = session.get_one(EvaluationSetVersion, row.evaluation_set_version_id).evaluation_set_id
    about = Evaluated(row.measured_by, published.get(row.commit_oid), row.commit_oid, of)
    for measured in map(MeasuredFigure.model_validate, row.metrics):
        figure = MetricFacts.model_validate(
            {
                **measured.model_dump(include={"metric", "value", "low", "high", "level"}),
                "evaluation_set": row.evaluation_set,
                "split": row.split,
                "sha256": row.rows_sha256,
                "n": row.n,
                "status": status_of(measured.is_within, by_worker=row.by_worker),
            }
        )
        announce_evaluation(session, repository, figure, about)


def evaluation_state(
    row: Evaluation, module: str, version: str | None, counting: Sequence[Evaluation]
) -> EvaluationState:
    """A row as it is told.

    Args:
        row: The row.
        module: Name of the repository.
        version: That the commit was published as.
        counting: The rows that decide (`evaluations.that_count`).
    """
    confusion: dict[str, Any] = row.confusion or {"labels": (), "counts": ()}
    return EvaluationState.model_validate(
        {
            "id": row.id,
            "module": module,
            "version": version,
            "commit": row.commit_oid,
            "digest": row.manifest_sha256,
            "evaluation_set": row.evaluation_set,
            "split": row.split,
            "rows_sha256": row.rows_sha256,
            "n": row.n,
            "status": row.status,
            "counts": any(each.id == row.id for each in counting),
            "by": row.measured_by,
            "by_worker": row.by_worker,
            "key": row.key_sha256,
            "tolerance": row.tolerance,
            "figures": [MeasuredFigure.model_validate(metric) for metric in row.metrics],
            "labels": confusion["labels"],
            "confusion": confusion["counts"],
            "measured": hub_date(row.measured_ms),
            "envelope": json.loads(row.envelope),
        }
    )


def _metric(figure: ComparedFigure, tolerance: float) -> dict[str, object]:
    return MeasuredFigure(
        metric=figure.metric,
        value=figure.value,
        low=figure.interval.low,
        high=figure.interval.high,
        level=figure.interval.level,
        declared=figure.declared,
        is_within=figure.is_within(tolerance),
    ).model_dump()
