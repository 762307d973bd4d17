"""Commits, their trees, and what is derived from them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import func, insert, literal, select
from sqlalchemy.orm import Session, aliased

from petapter_registry_server.card import Card
from petapter_registry_server.db.tables import CardRow, CardTag, Commit, ManifestRow, TreeEntry
from petapter_registry_server.tree import TreeFile

_LIKE_SAFE = frozenset("0123456789abcdef")


def find_commit(session: Session, repository_id: int, oid: str) -> Commit | None:
    """The commit whose id begins with `oid`, when the repository has exactly one."""
    if not set(oid) <= _LIKE_SAFE:
        return None
    matches = session.scalars(
        select(Commit).where(Commit.repository_id == repository_id, Commit.oid.startswith(oid)).limit(2)
    ).all()
    return matches[0] if len(matches) == 1 else None


def read_tree(session: Session, commit_oid: str) -> dict[str, TreeFile]:
    """All files of a commit by path, sorted."""
    rows = session.execute(
        select(TreeEntry.path, TreeEntry.size, TreeEntry.sha256, TreeEntry.git_oid)
        .where(TreeEntry.commit_oid == commit_oid)
        .order_by(TreeEntry.path)
    )
    return {row.path: TreeFile(*row) for row in rows}


def find_file(session: Session, commit_oid: str, path: str) -> TreeFile | None:
    """One file of a commit."""
    if "\0" in path:
        return None  # PostgreSQL refuses the question
    entry = session.get(TreeEntry, (commit_oid, path))
    return TreeFile(entry.path, entry.size, entry.sha256, entry.git_oid) if entry else None


def ancestors(session: Session, oid: str) -> Sequence[str]:
    """The ids of a commit and of all its ancestors."""
    newest = select(Commit.oid, Commit.parent_oid).where(Commit.oid == oid).cte("lineage", recursive=True)
    older = aliased(Commit)
    lineage = newest.union_all(select(older.oid, older.parent_oid).where(older.oid == newest.c.parent_oid))
    return session.scalars(select(lineage.c.oid)).all()


def history(session: Session, oid: str, *, limit: int) -> Sequence[Commit]:
    """A commit and its ancestors, newest first."""
    newest = select(Commit.oid, Commit.parent_oid, literal(1).label("depth")).where(Commit.oid == oid)
    chain = newest.cte("ancestors", recursive=True)
    older = aliased(Commit)
    next_older = select(older.oid, older.parent_oid, chain.c.depth + 1).where(
        older.oid == chain.c.parent_oid, chain.c.depth < limit
    )
    ancestors = chain.union_all(next_older)
    return session.scalars(
        select(Commit).join(ancestors, ancestors.c.oid == Commit.oid).order_by(ancestors.c.depth)
    ).all()


def add_commit(session: Session, commit: Commit, files: Iterable[TreeFile]) -> None:
    """Insert a commit with its whole tree; its blobs must be held (`blobs.hold`) or belong to an earlier commit."""
    listed = list(files)
    session.add(commit)
    session.flush()
    if not listed:
        return
    session.execute(
        insert(TreeEntry),
        [
            {"commit_oid": commit.oid, "path": f.path, "size": f.size, "sha256": f.sha256, "git_oid": f.git_oid}
            for f in listed
        ],
    )


def add_card(session: Session, commit_oid: str, card: Card, *, search_text: str) -> None:
    """Insert what a commit's card says, for search."""
    session.add(
        CardRow(
            commit_oid=commit_oid,
            data=dict(card.data),
            library_name=card.library_name,
            pipeline_tag=card.pipeline_tag,
            search_text=search_text,
        )
    )
    session.add_all(CardTag(commit_oid=commit_oid, tag=tag, position=at) for at, tag in enumerate(card.tags))


def add_manifest(session: Session, row: ManifestRow) -> None:
    """Insert the index row of a verified module."""
    session.add(row)


def read_tags(session: Session, commit_oids: Sequence[str]) -> dict[str, list[str]]:
    """Tags of some commits, each in its order."""
    tags: dict[str, list[str]] = {oid: [] for oid in commit_oids}
    rows = session.execute(
        select(CardTag.commit_oid, CardTag.tag).where(CardTag.commit_oid.in_(commit_oids)).order_by(CardTag.position)
    )
    for oid, tag in rows:
        tags[oid].append(tag)
    return tags


def read_card_row(session: Session, commit_oid: str) -> CardRow:
    """What a commit's card says; every commit has a row."""
    return session.get_one(CardRow, commit_oid)


def stored_bytes(session: Session, repository_id: int) -> int:
    """Bytes of all distinct files of all commits of a repository."""
    distinct = (
        select(TreeEntry.sha256, TreeEntry.size)
        .join(Commit, Commit.oid == TreeEntry.commit_oid)
        .where(Commit.repository_id == repository_id)
        .distinct()
        .subquery()
    )
    return int(session.scalar(select(func.coalesce(func.sum(distinct.c.size), 0))) or 0)  # PostgreSQL sums to Decimal
