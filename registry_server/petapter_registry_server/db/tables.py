"""The tables as SQLAlchemy classes; db/migrations makes them. Times are milliseconds since 1970, in UTC."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Table(DeclarativeBase):
    """The root that SQLAlchemy collects the tables under."""


class User(Table):
    """Somebody who holds tokens."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    disabled_ms: Mapped[int | None] = mapped_column(BigInteger)


class Namespace(Table):
    """The first part of a repository's name: a user's own (`user_id`) or a team's. `key` refuses look-alikes."""

    __tablename__ = "namespaces"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Membership(Table):
    """A user's role in a namespace: read, write, maintain or admin."""

    __tablename__ = "memberships"

    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str]


class Token(Table):
    """An access token, known by its sha256 alone. `scope` and `pattern` belong to tokens of the role fineGrained."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    sha256: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    revoked_ms: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str | None]
    scope: Mapped[str | None]
    pattern: Mapped[str | None]
    expires_ms: Mapped[int | None] = mapped_column(BigInteger)
    last_used_ms: Mapped[int | None] = mapped_column(BigInteger)


class Repository(Table):
    """A repository, or the tombstone of one. `lookup` is its name in lower case; `key` is unique for ever."""

    __tablename__ = "repositories"

    id: Mapped[int] = mapped_column(primary_key=True)
    namespace_id: Mapped[int] = mapped_column(ForeignKey("namespaces.id"), index=True)
    full_name: Mapped[str]
    lookup: Mapped[str] = mapped_column(unique=True)
    key: Mapped[str] = mapped_column(unique=True)
    private: Mapped[bool]
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    deleted_ms: Mapped[int | None] = mapped_column(BigInteger)


class Commit(Table):
    """One state of a repository. `oid` is 40 hex digits and never repeats."""

    __tablename__ = "commits"
    __table_args__ = (Index("ix_commits_repository_id_oid", "repository_id", "oid"),)

    oid: Mapped[str] = mapped_column(primary_key=True)
    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"))
    parent_oid: Mapped[str | None] = mapped_column(ForeignKey("commits.oid"))
    title: Mapped[str]
    message: Mapped[str]
    author: Mapped[str]
    created_ms: Mapped[int] = mapped_column(BigInteger)


class Reference(Table):
    """A branch (moves) or a tag (does not)."""

    __tablename__ = "refs"

    repository_id: Mapped[int] = mapped_column(ForeignKey("repositories.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"))


class Blob(Table):
    """Bytes that the blob store holds; the row is written after the bytes are durable.

    A condemned row (nobody refers to it) and a damaged one (a scrub found other bytes) promise no bytes: db/blobs.py.
    """

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    condemned_ms: Mapped[int | None] = mapped_column(BigInteger)
    damaged_ms: Mapped[int | None] = mapped_column(BigInteger)


class TreeEntry(Table):
    """A file of a commit; every commit lists all its files."""

    __tablename__ = "tree_entries"

    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    git_oid: Mapped[str]


class CardRow(Table):
    """What a commit's README.md says in its YAML, for search; `search_text` is case-folded."""

    __tablename__ = "cards"

    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), primary_key=True)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    library_name: Mapped[str | None]
    pipeline_tag: Mapped[str | None] = mapped_column(index=True)
    search_text: Mapped[str]


class CardTag(Table):
    """A tag of a commit, as the Hub derives it from the card; `position` keeps their order."""

    __tablename__ = "card_tags"

    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True, index=True)
    position: Mapped[int]


class ManifestRow(Table):
    """A verified module's manifest, indexed: the commit holds a module exactly when it has this row."""

    __tablename__ = "manifests"

    commit_oid: Mapped[str] = mapped_column(ForeignKey("commits.oid"), primary_key=True)
    digest: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    version: Mapped[str]
    description: Mapped[str]
    languages: Mapped[list[str]] = mapped_column(JSON)
    labels: Mapped[list[str]] = mapped_column(JSON)
    metrics: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class AuditRow(Table):
    """Who changed what; written in the transaction of the change. `sha256` is over the row and the one before."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[str]
    sha256: Mapped[str]
