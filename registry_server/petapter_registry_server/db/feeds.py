"""What happened last to versions: the rows behind the feeds of namespaces and of single modules."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from petapter_registry_server.db.module_tables import ModuleVersion
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.db.visibility import Viewer, visible

Told = tuple[ModuleVersion, Repository]


def last_published(session: Session, viewer: Viewer, place: ColumnElement[bool], *, limit: int) -> Sequence[Told]:
    """The versions that were published last, of the repositories of a place that a viewer may see."""
    return _last(session, viewer, place, ModuleVersion.published_ms, limit)


def last_yanked(session: Session, viewer: Viewer, place: ColumnElement[bool], *, limit: int) -> Sequence[Told]:
    """Likewise, those that were yanked last and are yanked now."""
    return _last(session, viewer, place & ModuleVersion.yanked_ms.is_not(None), ModuleVersion.yanked_ms, limit)


def _last(
    session: Session,
    viewer: Viewer,
    place: ColumnElement[bool],
    moment: InstrumentedAttribute[int] | InstrumentedAttribute[int | None],
    limit: int,
) -> Sequence[Told]:
    rows = session.execute(
        select(ModuleVersion, Repository)
        .join(Repository, Repository.id == ModuleVersion.repository_id)
        .where(place, Repository.deleted_ms.is_(None), visible(viewer))
        .order_by(moment.desc(), Repository.id, ModuleVersion.version)
        .limit(limit)
    )
    return [(version, repository) for version, repository in rows]


def in_namespace(namespace_id: int) -> ColumnElement[bool]:
    """The place that a namespace is."""
    return Repository.namespace_id == namespace_id


def in_repository(repository_id: int) -> ColumnElement[bool]:
    """The place that one repository is."""
    return Repository.id == repository_id
