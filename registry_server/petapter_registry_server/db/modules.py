"""Modules by the digests of their manifests: which version one is, and which modules were made from it."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from petapter_registry_server.db.module_tables import IndexedModule, IndexedTerm, ModuleVersion
from petapter_registry_server.db.tables import ManifestRow, Repository
from petapter_registry_server.db.visibility import Viewer, visible

MAX_CHILDREN = 100

NamedVersion = tuple[str, str, str]
"""Digest of the manifest, name of the repository, and version."""


def versions_by_digest(session: Session, digests: Collection[str], viewer: Viewer) -> Sequence[NamedVersion]:
    """The published versions that somebody may see with these manifests, the oldest last."""
    rows = session.execute(
        select(ManifestRow.digest, Repository.full_name, ModuleVersion.version)
        .join(ModuleVersion, ModuleVersion.commit_oid == ManifestRow.commit_oid)
        .join(Repository, Repository.id == ModuleVersion.repository_id)
        .where(ManifestRow.digest.in_(digests), Repository.deleted_ms.is_(None), visible(viewer))
        .order_by(ModuleVersion.published_ms.desc())
    )
    return [(digest, name, version) for digest, name, version in rows]


def made_from(session: Session, digest: str, viewer: Viewer) -> Sequence[NamedVersion]:
    """Modules that search shows and whose manifest names another as a parent or member, newest first."""
    rows = session.execute(
        select(ManifestRow.digest, Repository.full_name, ManifestRow.version)
        .join(IndexedModule, IndexedModule.commit_oid == ManifestRow.commit_oid)
        .join(IndexedTerm, IndexedTerm.repository_id == IndexedModule.repository_id)
        .join(Repository, Repository.id == IndexedModule.repository_id)
        .where(IndexedTerm.term == f"parent:{digest}", Repository.deleted_ms.is_(None), visible(viewer))
        .order_by(IndexedTerm.updated_ms.desc())
        .limit(MAX_CHILDREN)
    )
    return [(found, name, version) for found, name, version in rows]
