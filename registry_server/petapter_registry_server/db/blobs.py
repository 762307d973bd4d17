"""Rows of blobs: which bytes are promised, condemned, or damaged.

A row without `condemned_ms` and `damaged_ms` promises that the store holds the bytes. What a row promises changes in a
write (`Database.write`), and writes take turns: between the look and the change nobody else has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, literal, or_, select, update
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db.evaluation_sets import keeps_rows, sets_with_blob
from petapter_registry_server.db.tables import Blob, Commit, Repository, TreeEntry
from petapter_registry_server.db.uploads import is_kept
from petapter_registry_server.db.upsert import insert_into, insert_missing


@dataclass(frozen=True)
class KnownBlob:
    """A blob as its row tells it."""

    sha256: str
    size: int
    is_damaged: bool


def hold(session: Session, sizes: Mapping[str, int]) -> set[str]:
    """Promise blobs, given with their sizes, and return those whose bytes nobody has promised before.

    Until the end of the transaction nobody condemns or deletes any of them. The caller must see that the bytes of the
    returned ones are in the store.
    """
    promised = session.scalars(
        select(Blob.sha256).where(Blob.sha256.in_(sizes), Blob.condemned_ms.is_(None), Blob.damaged_ms.is_(None))
    )
    doubtful = sizes.keys() - set(promised)
    if doubtful:
        revive = insert_into(session, Blob).on_conflict_do_update(
            index_elements=[Blob.sha256], set_={"condemned_ms": None, "damaged_ms": None}
        )
        session.execute(revive, [_row(sha256, sizes[sha256], condemned_ms=None) for sha256 in sorted(doubtful)])
    return doubtful


def adopt(session: Session, sizes: Mapping[str, int], at_ms: int) -> int:
    """Give bytes that no row knows a condemned row, so that they go the way of all condemned blobs."""
    known = set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(sizes))))
    strays = sorted(sizes.keys() - known)
    insert_missing(session, Blob, [_row(sha256, sizes[sha256], condemned_ms=at_ms) for sha256 in strays])
    return len(strays)


def unknown(session: Session, digests: Sequence[str]) -> set[str]:
    """Those digests that no row knows."""
    return set(digests) - set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(digests))))


def condemn(session: Session, *, created_before_ms: int, at_ms: int) -> int:
    """Condemn every blob that no living repository refers to, unless it is young; returns how many."""
    lonely = update(Blob).where(*_may_be_condemned(created_before_ms)).values(condemned_ms=at_ms)
    done = session.execute(lonely.returning(Blob.sha256).execution_options(synchronize_session=False))
    return len(done.all())


def count_lonely(session: Session, *, created_before_ms: int) -> int:
    """How many blobs `condemn` would condemn."""
    return session.scalar(select(func.count()).select_from(Blob).where(*_may_be_condemned(created_before_ms))) or 0


def list_condemned(session: Session, *, before_ms: int) -> Sequence[KnownBlob]:
    """Blobs that were condemned before."""
    return _known(session, Blob.condemned_ms <= before_ms)


def pardon_or_remove(session: Session, sha256: str, *, condemned_before_ms: int) -> bool:
    """Look again at a condemned blob's row, and remove it with what deleted repositories say of it.

    Returns whether the row is gone: then the caller deletes the bytes, before the transaction ends. A blob that is
    referred to again is pardoned.
    """
    row = session.scalar(select(Blob).where(Blob.sha256 == sha256, Blob.condemned_ms <= condemned_before_ms))
    if row is None:
        return False
    named = literal(sha256)
    referred = or_(exists().where(TreeEntry.sha256 == sha256, *_LIVES), is_kept(named), keeps_rows(named))
    if session.scalar(select(referred)):
        row.condemned_ms = None
        return False
    session.execute(delete(TreeEntry).where(TreeEntry.sha256 == sha256).execution_options(synchronize_session=False))
    session.delete(row)
    session.flush()
    return True


def list_after(session: Session, sha256: str, *, limit: int) -> Sequence[KnownBlob]:
    """Blobs that are not condemned, in the order of their digests, behind one of them."""
    return _known(session, Blob.condemned_ms.is_(None), Blob.sha256 > sha256, limit=limit)


def find(session: Session, sha256: str) -> Blob | None:
    """A blob's row."""
    return session.get(Blob, sha256)


def is_damaged(session: Session, sha256: str) -> bool:
    """Whether a scrub found a blob damaged and nobody healed it since."""
    return session.scalar(select(Blob.damaged_ms).where(Blob.sha256 == sha256)) is not None


def damaged_among(session: Session, digests: Sequence[str]) -> set[str]:
    """Those blobs that a scrub found damaged and nobody healed since."""
    return set(session.scalars(select(Blob.sha256).where(Blob.sha256.in_(digests), Blob.damaged_ms.is_not(None))))


def files_of(session: Session, sha256: str, *, limit: int = 3) -> Sequence[str]:
    """Some of the files that have this content, as `namespace/name: path`; of a set's rows the version is the path."""
    rows = session.execute(
        select(Repository.full_name, TreeEntry.path)
        .where(TreeEntry.sha256 == sha256, *_LIVES)
        .distinct()
        .order_by(Repository.full_name, TreeEntry.path)
        .limit(limit)
    )
    found = [f"{name}: {path}" for name, path in rows]
    return [*found, *sets_with_blob(session, sha256, limit=limit - len(found))] if len(found) < limit else found


_LIVES = (
    TreeEntry.commit_oid == Commit.oid,
    Commit.repository_id == Repository.id,
    Repository.deleted_ms.is_(None),
)


def _may_be_condemned(created_before_ms: int) -> tuple[ColumnElement[bool], ...]:
    referred = exists().where(TreeEntry.sha256 == Blob.sha256, *_LIVES)
    return (
        Blob.condemned_ms.is_(None),
        Blob.created_ms <= created_before_ms,
        ~referred,
        ~is_kept(Blob.sha256.expression),
        ~keeps_rows(Blob.sha256.expression),
    )


def _known(session: Session, *conditions: ColumnElement[bool], limit: int | None = None) -> Sequence[KnownBlob]:
    rows = session.execute(
        select(Blob.sha256, Blob.size, Blob.damaged_ms).where(*conditions).order_by(Blob.sha256).limit(limit)
    )
    return [KnownBlob(row.sha256, row.size, row.damaged_ms is not None) for row in rows]


def _row(sha256: str, size: int, *, condemned_ms: int | None) -> dict[str, object]:
    return {
        "sha256": sha256,
        "size": size,
        "created_ms": now_ms(),
        "condemned_ms": condemned_ms,
        "damaged_ms": None,
    }
