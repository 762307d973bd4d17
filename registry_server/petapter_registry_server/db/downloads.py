"""How often repositories were downloaded."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, ForeignKey, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.db.tables import Table


class DownloadTotal(Table):
    """Downloads of a repository since it was made; no row stands for none."""

    __tablename__ = "download_totals"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger, index=True)


def add_downloads(session: Session, counted: Mapping[int, int]) -> None:
    """Add to the totals of repositories by id."""
    for repository_id, count in sorted(counted.items()):
        raised = session.execute(
            update(DownloadTotal)
            .where(DownloadTotal.repository_id == repository_id)
            .values(total=DownloadTotal.total + count)
            .returning(DownloadTotal.total)
        )
        if raised.first() is None:
            session.add(DownloadTotal(repository_id=repository_id, total=count))
            session.flush()


def read_downloads(session: Session, repository_ids: Sequence[int]) -> dict[int, int]:
    """Totals of repositories by id, 0 for those that nobody downloaded."""
    rows = session.execute(
        select(DownloadTotal.repository_id, DownloadTotal.total).where(DownloadTotal.repository_id.in_(repository_ids))
    )
    return dict.fromkeys(repository_ids, 0) | {row.repository_id: row.total for row in rows}
