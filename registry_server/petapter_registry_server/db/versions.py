"""Published versions and the channels that point to them."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.module_tables import ChannelMove, ModuleVersion


def list_versions(session: Session, repository_id: int) -> Sequence[ModuleVersion]:
    """All versions of a repository, also yanked ones, in the order of their publication."""
    return session.scalars(
        select(ModuleVersion)
        .where(ModuleVersion.repository_id == repository_id)
        .order_by(ModuleVersion.published_ms, ModuleVersion.version)
    ).all()


def find_version(session: Session, repository_id: int, version: str) -> ModuleVersion | None:
    """A version by its number."""
    return session.get(ModuleVersion, (repository_id, version))


def add_version(session: Session, version: ModuleVersion) -> None:
    """Record a publication."""
    session.add(version)
    session.flush()


def yank_of_commit(session: Session, commit_oid: str) -> ModuleVersion | None:
    """The yanked version that a commit is, if it is one."""
    return session.scalar(
        select(ModuleVersion).where(ModuleVersion.commit_oid == commit_oid, ModuleVersion.yanked_ms.is_not(None))
    )


def find_channel(session: Session, repository_id: int, name: str) -> ChannelMove | None:
    """The step by which a channel came to where it stands; None when there is no such channel."""
    last = session.scalar(
        select(ChannelMove)
        .where(ChannelMove.repository_id == repository_id, ChannelMove.name == name)
        .order_by(ChannelMove.id.desc())
        .limit(1)
    )
    return last if last is not None and last.version is not None else None


def list_channels(session: Session, repository_id: int) -> Sequence[ChannelMove]:
    """The last step of every channel that stands, by name."""
    last = select(func.max(ChannelMove.id)).where(ChannelMove.repository_id == repository_id).group_by(ChannelMove.name)
    return session.scalars(
        select(ChannelMove).where(ChannelMove.id.in_(last), ChannelMove.version.is_not(None)).order_by(ChannelMove.name)
    ).all()


def channel_history(session: Session, repository_id: int) -> Sequence[ChannelMove]:
    """Every step of every channel, newest first."""
    return session.scalars(
        select(ChannelMove).where(ChannelMove.repository_id == repository_id).order_by(ChannelMove.id.desc())
    ).all()


def move_channel(session: Session, move: ChannelMove) -> None:
    """Record a step."""
    session.add(move)
    session.flush()
