"""What whoever pulls a yanked version is told."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.db import versions
from petapter_registry_server.db.tables import Repository


@dataclass(frozen=True)
class Notice:
    """A warning; clients show the first one of each topic."""

    topic: str
    text: str


def notice_about(session: Session, repository: Repository, commit_oid: str) -> Notice | None:
    """Why a commit should not be used any more; None when nothing is wrong with it."""
    yanked = versions.yank_of_commit(session, commit_oid)
    if yanked is None:
        return None
    name = f"{repository.full_name}@v{yanked.version}"
    return Notice(f"yanked {name}", f"{name} was yanked by its maintainers: {yanked.yank_reason}")
