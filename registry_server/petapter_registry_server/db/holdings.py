"""How much the whole registry holds, by counting; for operators, so it may take a moment."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.module_tables import ModuleVersion
from petapter_registry_server.db.tables import AuditRow, Blob, Namespace, Repository, Token, User


@dataclass(frozen=True)
class Holdings:
    """Rows of a registry. Bytes are of blobs, each content once."""

    users: int
    disabled_users: int
    namespaces: int
    repositories: int
    deleted_repositories: int
    versions: int
    yanked_versions: int
    tokens: int
    blobs: int
    blob_bytes: int
    condemned: int
    condemned_bytes: int
    oldest_condemned_ms: int | None
    damaged: int


def count(session: Session, *, now_ms: int) -> Holdings:
    """All counts."""

    def one(statement: Select[int]) -> int:
        return session.scalar(statement) or 0

    usable = (Token.revoked_ms.is_(None), func.coalesce(Token.expires_ms, now_ms + 1) > now_ms)
    kept = session.execute(
        select(func.count(), func.coalesce(func.sum(Blob.size), 0)).where(Blob.condemned_ms.is_(None))
    ).one()
    doomed = session.execute(
        select(func.count(), func.coalesce(func.sum(Blob.size), 0), func.min(Blob.condemned_ms)).where(
            Blob.condemned_ms.is_not(None)
        )
    ).one()
    return Holdings(
        users=one(select(func.count(User.id))),
        disabled_users=one(select(func.count(User.id)).where(User.disabled_ms.is_not(None))),
        namespaces=one(select(func.count(Namespace.id))),
        repositories=one(select(func.count(Repository.id)).where(Repository.deleted_ms.is_(None))),
        deleted_repositories=one(select(func.count(Repository.id)).where(Repository.deleted_ms.is_not(None))),
        versions=one(select(func.count()).select_from(ModuleVersion)),
        yanked_versions=one(
            select(func.count()).select_from(ModuleVersion).where(ModuleVersion.yanked_ms.is_not(None))
        ),
        tokens=one(select(func.count(Token.id)).where(*usable)),
        blobs=kept[0],
        blob_bytes=int(kept[1]),
        condemned=doomed[0],
        condemned_bytes=int(doomed[1]),
        oldest_condemned_ms=doomed[2],
        damaged=one(select(func.count()).select_from(Blob).where(Blob.damaged_ms.is_not(None))),
    )


def list_damaged(session: Session, *, limit: int) -> Sequence[Blob]:
    """Damaged blobs, the latest finding first."""
    statement = select(Blob).where(Blob.damaged_ms.is_not(None)).order_by(Blob.damaged_ms.desc()).limit(limit)
    return session.scalars(statement).all()


def list_deeds(session: Session, actor: str, *, limit: int) -> Sequence[AuditRow]:
    """The last rows of the audit of one actor, newest first."""
    return session.scalars(
        select(AuditRow).where(AuditRow.actor == actor).order_by(AuditRow.id.desc()).limit(limit)
    ).all()
