"""Repositories, branches and tags: made and removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.card import Card
from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, commits, former_names, memberships, repositories, webhooks
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.repositories import BRANCH, MAIN, TAG
from petapter_registry_server.db.tables import Reference, Repository
from petapter_registry_server.errors import (
    InvalidRequestError,
    NameRetiredError,
    ReferenceExistsError,
    RepositoryExistsError,
    RevisionNotFoundError,
)
from petapter_registry_server.services.access import Access, Caller, require_write_role
from petapter_registry_server.services.commit_ids import CommitText, new_commit
from petapter_registry_server.services.founding import namespace_for
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.lfs_rules import ATTRIBUTES_FILE, FIRST_ATTRIBUTES, FIRST_ATTRIBUTES_SHA256
from petapter_registry_server.services.quotas import Quotas
from petapter_registry_server.services.revisions import check_reference_name, resolve_revision
from petapter_registry_server.services.roles import Role
from petapter_registry_server.services.versions import check_may_delete, check_name_is_free, publish_tag
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import TreeFile
from petapter_schemas.digests import git_blob_sha1
from petapter_schemas.names import name_key, split_repo_id

_FIRST_TITLE = "initial commit"  # huggingface_hub looks for this title


@dataclass(frozen=True)
class NewReference:
    """A branch or tag to make: where, how it is called, and the revision it begins at."""

    repo_id: str
    kind: str
    name: str
    start: str


class Repositories:
    """Makes and removes what modules live in."""

    def __init__(self, database: Database, access: Access, blobs: BlobStore, quotas: Quotas) -> None:
        self._database = database
        self._access = access
        self._blobs = blobs
        self._quotas = quotas

    def create(self, caller: Caller, repo_id: str, *, private: bool) -> str:
        """Make a repository with its first commit and return its canonical name.

        A namespace that does not exist yet is made, and the caller is its admin.

        Raises:
            InvalidNameError: The name breaks the rules.
            RepositoryExistsError: The repository is there.
            NameRetiredError: The name belonged to a deleted repository.
            PermissionDeniedError: The caller may not write in the namespace, or found one.
            QuotaExceededError: The namespace holds as many as it may.
        """
        require_write_role(caller)
        split_repo_id(repo_id)
        with self._first_file() as (first, location), self._database.write() as session:
            namespace = namespace_for(session, caller, repo_id)
            _refuse_taken_name(session, repo_id)
            self._quotas.check_repositories(session, namespace)
            full_name = f"{namespace.name}/{repo_id.partition('/')[2]}"
            repository = _new_repository(full_name, namespace.id, private=private)
            session.add(repository)
            session.flush()
            hold_bytes(session, self._blobs, {first.sha256: location})
            _begin_main(session, caller, repository, first)
            audit.record(session, actor=caller.name, action="repository.create", subject=full_name)
        return full_name

    def delete(self, caller: Caller, repo_id: str) -> None:
        """Remove a repository from sight; its name stays taken.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
            PermissionDeniedError: The caller is no admin there.
        """
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            repository.deleted_ms = now_ms()
            memberships.remove_grants(session, repository.id)
            webhooks.remove_of_repository(session, repository.id)
            refresh_index(session, repository)
            audit.record(session, actor=caller.name, action="repository.delete", subject=repository.full_name)

    def set_private(self, caller: Caller, repo_id: str, *, private: bool) -> None:
        """Hide a repository from all but its namespace, or show it."""
        with self._database.write() as session:
            repository = self._access.administrable(session, caller, repo_id)
            repository.private = private
            detail = "private" if private else "public"
            audit.record(session, actor=caller.name, action="repository.visibility", subject=repo_id, detail=detail)

    def create_reference(self, caller: Caller, new: NewReference) -> None:
        """Make a branch or tag.

        Raises:
            InvalidRequestError: The name breaks the rules.
            ReferenceExistsError: There is one of this name.
            RevisionNotFoundError: The start names no commit.
            VersionRefusedError: The name is a channel's, or the tag cannot be a version (`publish_tag`).
        """
        check_reference_name(new.name)
        with self._database.write() as session:
            repository = self._access.writable(session, caller, new.repo_id)
            if repositories.find_reference(session, repository.id, new.kind, new.name):
                raise ReferenceExistsError(f"Reference {_full_reference(new.kind, new.name)} already exists")
            check_name_is_free(session, repository, new.kind, new.name)
            commit = resolve_revision(session, repository, new.start)
            oid = commit.oid
            session.add(Reference(repository_id=repository.id, kind=new.kind, name=new.name, commit_oid=oid))
            detail = f"{new.name} {oid}"
            audit.record(session, actor=caller.name, action=f"{new.kind}.create", subject=new.repo_id, detail=detail)
            if new.kind == TAG:
                publish_tag(session, caller, repository, new.name, commit)

    def delete_branch(self, caller: Caller, repo_id: str, name: str) -> None:
        """Remove a branch other than main; its commits stay.

        Raises:
            RevisionNotFoundError: There is none.
            InvalidRequestError: It is main.
        """
        if name == MAIN:
            raise InvalidRequestError(f"Cannot delete {_full_reference(BRANCH, MAIN)}")
        self._delete_reference(caller, repo_id, BRANCH, name)

    def delete_tag(self, caller: Caller, repo_id: str, name: str) -> None:
        """Remove a tag; its commit stays.

        Raises:
            RevisionNotFoundError: There is none.
            VersionRefusedError: It is a published version.
        """
        self._delete_reference(caller, repo_id, TAG, name)

    def _delete_reference(self, caller: Caller, repo_id: str, kind: str, name: str) -> None:
        needed: Role = "maintain" if kind == TAG else "write"
        with self._database.write() as session:
            repository = self._access.require(session, caller, repo_id, needed)
            check_may_delete(session, repository, kind, name)
            reference = repositories.find_reference(session, repository.id, kind, name)
            if reference is None:
                raise RevisionNotFoundError(name)
            session.delete(reference)
            detail = f"{name} {reference.commit_oid}"
            audit.record(session, actor=caller.name, action=f"{kind}.delete", subject=repo_id, detail=detail)

    @contextmanager
    def _first_file(self) -> Iterator[tuple[TreeFile, Path]]:
        """The file that every repository begins with, stored, and where its bytes lie in scratch."""
        digest = FIRST_ATTRIBUTES_SHA256
        with self._blobs.scratch() as directory:
            location = directory / "gitattributes"
            location.write_bytes(FIRST_ATTRIBUTES)
            self._blobs.promote({digest: location})
            yield TreeFile(ATTRIBUTES_FILE, len(FIRST_ATTRIBUTES), digest, git_blob_sha1(FIRST_ATTRIBUTES)), location


def _refuse_taken_name(session: Session, repo_id: str) -> None:
    if (found := former_names.find_former(session, repo_id)) is not None and found[0].leads_on:
        raise RepositoryExistsError(found[1].full_name)
    if (former := former_names.find_former_key(session, name_key(repo_id))) is not None:
        raise NameRetiredError(f"{former.lookup!r} was the name of a repository and is never given out again")
    taken = repositories.find_name(session, name_key(repo_id))
    if taken is None:
        return
    if taken.deleted_ms is not None:
        raise NameRetiredError(f"{taken.full_name} was deleted, and its name is never given out again: choose another")
    if taken.lookup == repo_id.lower():
        raise RepositoryExistsError(taken.full_name)
    raise InvalidRequestError(f"{repo_id!r} looks like {taken.full_name!r}, which exists: choose another name")


def _new_repository(full_name: str, namespace_id: int, *, private: bool) -> Repository:
    at = now_ms()
    return Repository(
        namespace_id=namespace_id,
        full_name=full_name,
        lookup=full_name.lower(),
        key=name_key(full_name),
        private=private,
        created_ms=at,
        updated_ms=at,
        deleted_ms=None,
    )


def _begin_main(session: Session, caller: Caller, repository: Repository, first: TreeFile) -> None:
    text = CommitText(_FIRST_TITLE, "", caller.name)
    commit = new_commit(repository.id, None, {first.path: first}, text)
    commits.add_commit(session, commit, [first])
    commits.add_card(session, commit.oid, Card(), search_text=repository.lookup)
    session.add(Reference(repository_id=repository.id, kind=BRANCH, name=MAIN, commit_oid=commit.oid))


def _full_reference(kind: str, name: str) -> str:
    return f"refs/heads/{name}" if kind == BRANCH else f"refs/tags/{name}"
