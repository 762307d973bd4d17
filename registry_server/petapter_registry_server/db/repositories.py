"""Repositories, their branches and tags."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from petapter_registry_server.db.tables import Reference, Repository

BRANCH = "branch"
TAG = "tag"
MAIN = "main"


def find_repository(session: Session, repo_id: str) -> Repository | None:
    """The living repository of this name, in any case."""
    return session.scalar(
        select(Repository).where(Repository.lookup == repo_id.lower(), Repository.deleted_ms.is_(None))
    )


def find_name(session: Session, key: str) -> Repository | None:
    """The repository or tombstone whose name looks like this one (`name_key`)."""
    return session.scalar(select(Repository).where(Repository.key == key))


def find_reference(session: Session, repository_id: int, kind: str, name: str) -> Reference | None:
    """A branch or tag by name."""
    if "\0" in name:
        return None  # PostgreSQL refuses the question
    return session.get(Reference, (repository_id, kind, name))


def list_references(session: Session, repository_id: int) -> Sequence[Reference]:
    """All branches and tags by name."""
    return session.scalars(
        select(Reference).where(Reference.repository_id == repository_id).order_by(Reference.name)
    ).all()
