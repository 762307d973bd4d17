"""Bytes that reached a repository apart from a commit, and blocks of the Xet protocol."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, delete, exists, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.tables import Commit, Repository, Table, TreeEntry


class Upload(Table):
    """Bytes that somebody sent for a repository; commits of this repository alone may name them."""

    __tablename__ = "uploads"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), primary_key=True, index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class UploadPart(Table):
    """A part of bytes that are on their way to a repository; `sha256` is the blob that holds the part."""

    __tablename__ = "upload_parts"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    whole: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Xorb(Table):
    """A block of chunks that a client sent for a repository; `sha256` is the blob that holds it as it came."""

    __tablename__ = "xorbs"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    hash: Mapped[str] = mapped_column(primary_key=True, index=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)


def has_content(session: Session, repository_id: int, sha256: str) -> int | None:
    """The size of bytes that were sent to a repository or that one of its commits holds; None of all others."""
    if (upload := session.get(Upload, (repository_id, sha256))) is not None:
        return upload.size
    return session.scalar(
        select(TreeEntry.size)
        .join(Commit, Commit.oid == TreeEntry.commit_oid)
        .where(Commit.repository_id == repository_id, TreeEntry.sha256 == sha256)
        .limit(1)
    )


def record_upload(session: Session, repository_id: int, sha256: str, size: int) -> None:
    """Note bytes whose blob is held."""
    if session.get(Upload, (repository_id, sha256)) is None:
        session.add(Upload(repository_id=repository_id, sha256=sha256, size=size, created_ms=now_ms()))


def record_part(session: Session, part: UploadPart) -> None:
    """Note a part whose blob is held; one that is sent again takes the place of the first."""
    session.merge(part)


def read_parts(session: Session, repository_id: int, whole: str) -> Sequence[UploadPart]:
    """The parts that have arrived of some bytes, in order."""
    return session.scalars(
        select(UploadPart)
        .where(UploadPart.repository_id == repository_id, UploadPart.whole == whole)
        .order_by(UploadPart.number)
    ).all()


def forget_parts(session: Session, repository_id: int, whole: str) -> None:
    """Drop the parts of bytes that are whole by now."""
    session.execute(delete(UploadPart).where(UploadPart.repository_id == repository_id, UploadPart.whole == whole))


def record_xorb(session: Session, xorb: Xorb) -> bool:
    """Note a block whose blob is held; whether it is new to its repository."""
    if session.get(Xorb, (xorb.repository_id, xorb.hash)) is not None:
        return False
    session.add(xorb)
    return True


def find_xorbs(session: Session, hash_: str) -> Sequence[tuple[Xorb, Repository]]:
    """Blocks of this name, each with the living repository that it was sent for."""
    rows = session.execute(
        select(Xorb, Repository)
        .join(Repository, Repository.id == Xorb.repository_id)
        .where(Xorb.hash == hash_, Repository.deleted_ms.is_(None))
        .order_by(Xorb.created_ms)
    )
    return [(xorb, repository) for xorb, repository in rows]


def expire(session: Session, *, sent_before_ms: int, blocks_before_ms: int) -> None:
    """Forget what was sent and never came to a commit, old blocks, and all of it that deleted repositories had."""
    dead = select(Repository.id).where(Repository.deleted_ms.is_not(None))
    for table, before_ms in ((Upload, sent_before_ms), (UploadPart, sent_before_ms), (Xorb, blocks_before_ms)):
        session.execute(
            delete(table)
            .where(or_(table.created_ms < before_ms, table.repository_id.in_(dead)))
            .execution_options(synchronize_session=False)
        )


def is_kept(sha256: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether something that was sent apart refers to a blob."""
    return or_(*(exists().where(table.sha256 == sha256) for table in (Upload, UploadPart, Xorb)))
