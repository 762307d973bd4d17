"""Names that repositories had before: kept for ever, so that old addresses lead on and nobody else gets them."""

from sqlalchemy import BigInteger, ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Repository, Table


class FormerName(Table):
    """A name that a repository had; `lookup` and `key` as there. One that does not lead on is taken all the same."""

    __tablename__ = "former_names"

    key: Mapped[str] = mapped_column(primary_key=True)
    lookup: Mapped[str] = mapped_column(unique=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), index=True)
    leads_on: Mapped[bool]
    moved_ms: Mapped[int] = mapped_column(BigInteger)


def find_former(session: Session, repo_id: str) -> tuple[FormerName, Repository] | None:
    """The living repository that once had this name, in any case."""
    row = session.execute(
        select(FormerName, Repository)
        .join(Repository, Repository.id == FormerName.repository_id)
        .where(FormerName.lookup == repo_id.lower(), Repository.deleted_ms.is_(None))
    ).one_or_none()
    return (row[0], row[1]) if row else None


def find_former_key(session: Session, key: str) -> FormerName | None:
    """The former name that looks like this one (`name_key`), whatever became of its repository."""
    return session.get(FormerName, key)


def keep_name(session: Session, repository: Repository, *, leads_on: bool) -> None:
    """Keep the name that a repository has now, before it gets another."""
    session.add(
        FormerName(
            key=repository.key,
            lookup=repository.lookup,
            repository_id=repository.id,
            leads_on=leads_on,
            moved_ms=now_ms(),
        )
    )
