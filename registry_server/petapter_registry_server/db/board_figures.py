"""Figures of modules on some rows: what search knows that manifests declare, and what was measured here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import Session, aliased

from petapter_registry_server.db.evaluation_tables import Evaluation
from petapter_registry_server.db.module_tables import CommitFacts, IndexedMetric, IndexedModule, ModuleVersion
from petapter_registry_server.db.tables import Commit, Repository
from petapter_registry_server.db.visibility import Viewer, visible
from petapter_schemas.module_facts import MetricFacts, ModuleFacts

MOST_MEASURED = 2000
"""Evaluations on some rows that are looked through, the newest first."""


@dataclass(frozen=True)
class FiguresOf:
    """Which figures: of a metric, on the rows with a digest."""

    rows_sha256: str
    metric: str


@dataclass(frozen=True)
class Declared:
    """A figure in the manifest that search shows of a module, and who published that when; `digest` is its."""

    repository: Repository
    version: str | None
    digest: str
    figure: MetricFacts
    by: str
    at_ms: int


@dataclass(frozen=True)
class Measured:
    """An evaluation of a module, and the version that its commit is published as."""

    repository: Repository
    version: str | None
    evaluation: Evaluation


def count_declared(session: Session, rows_sha256: str, viewer: Viewer) -> Counter[str]:
    """By metric how many modules that somebody may see declare it on some rows."""
    rows = session.execute(
        select(IndexedMetric.metric, func.count(IndexedMetric.repository_id.distinct()))
        .join(Repository, Repository.id == IndexedMetric.repository_id)
        .where(IndexedMetric.sha256 == rows_sha256, visible(viewer))
        .group_by(IndexedMetric.metric)
    )
    return Counter({row[0]: row[1] for row in rows})


def list_declared(
    session: Session, wanted: FiguresOf, viewer: Viewer, *, highest_first: bool, limit: int
) -> Sequence[Declared]:
    """What modules that somebody may see declare, each once, by the first such figure of its manifest."""
    value = IndexedMetric.value.desc() if highest_first else IndexedMetric.value
    rows = session.execute(
        select(Repository, IndexedModule.version, CommitFacts.facts, Commit, ModuleVersion)
        .select_from(IndexedMetric)
        .join(IndexedModule, IndexedModule.repository_id == IndexedMetric.repository_id)
        .join(Repository, Repository.id == IndexedMetric.repository_id)
        .join(CommitFacts, CommitFacts.commit_oid == IndexedModule.commit_oid)
        .join(Commit, Commit.oid == IndexedModule.commit_oid)
        .outerjoin(
            ModuleVersion,
            and_(
                ModuleVersion.repository_id == IndexedModule.repository_id,
                ModuleVersion.version == IndexedModule.version,
            ),
        )
        .where(*_about(wanted), visible(viewer), ~_comes_later())
        .order_by(value, Repository.id)
        .limit(limit)
    )
    return [
        _declared(wanted, row[0], row[1], ModuleFacts.model_validate(row[2]), _published(row[3], row[4]))
        for row in rows
    ]


def _about(wanted: FiguresOf) -> tuple[ColumnElement[bool], ...]:
    return IndexedMetric.sha256 == wanted.rows_sha256, IndexedMetric.metric == wanted.metric


def _comes_later() -> ColumnElement[bool]:
    """Whether the manifest has another such figure before this one."""
    earlier = aliased(IndexedMetric)
    return exists().where(
        earlier.repository_id == IndexedMetric.repository_id,
        earlier.position < IndexedMetric.position,
        earlier.sha256 == IndexedMetric.sha256,
        earlier.metric == IndexedMetric.metric,
    )


def _declared(
    wanted: FiguresOf, repository: Repository, version: str | None, facts: ModuleFacts, published: tuple[str, int]
) -> Declared:
    about = (wanted.rows_sha256, wanted.metric)
    figure = next(each for each in facts.metrics if (each.sha256, each.metric) == about)
    return Declared(repository, version, facts.digest or "", figure, *published)


def _published(commit: Commit, version: ModuleVersion | None) -> tuple[str, int]:
    """Who published what search shows, and when."""
    return (commit.author, commit.created_ms) if version is None else (version.published_by, version.published_ms)


def list_measured(session: Session, rows_sha256: str, viewer: Viewer) -> Sequence[Measured]:
    """What was measured on some rows of modules that somebody may see, the newest first; not of yanked versions."""
    is_published = and_(
        ModuleVersion.repository_id == Evaluation.repository_id, ModuleVersion.commit_oid == Evaluation.commit_oid
    )
    rows = session.execute(
        select(Evaluation, Repository, ModuleVersion.version)
        .join(Repository, Repository.id == Evaluation.repository_id)
        .outerjoin(ModuleVersion, is_published)
        .where(Evaluation.rows_sha256 == rows_sha256, Repository.deleted_ms.is_(None), visible(viewer))
        .where(ModuleVersion.yanked_ms.is_(None))
        .order_by(Evaluation.measured_ms.desc(), Evaluation.id.desc())
        .limit(MOST_MEASURED)
    )
    return [Measured(repository, version, evaluation) for evaluation, repository, version in rows]
