"""What a revision means: a channel, a branch, a tag, a full ref name, or a commit id of at least seven digits."""

import re
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.db.commits import find_commit
from petapter_registry_server.db.repositories import BRANCH, MAIN, TAG, find_reference
from petapter_registry_server.db.tables import Commit, Reference, Repository
from petapter_registry_server.errors import InvalidRequestError, RevisionNotFoundError
from petapter_registry_server.services.channels import resolve_channel
from petapter_registry_server.services.version_order import version_of_tag

_PREFIXES = {"refs/heads/": BRANCH, "refs/tags/": TAG}
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/+-]{0,126}[A-Za-z0-9_+-])?")
_OID_LENGTH = 40


@dataclass(frozen=True)
class At:
    """A revision of a repository, as a client names both."""

    repo_id: str
    revision: str


def resolve_revision(session: Session, repository: Repository, revision: str) -> Commit:
    """The commit that a revision names; a channel wins over a branch, that over a tag, a tag over a commit id.

    What reads like a version is looked for among tags first, so that no branch can stand in its place.

    Raises:
        RevisionNotFoundError: It names none.
    """
    if "\0" in revision:
        raise RevisionNotFoundError(revision)  # PostgreSQL refuses the question
    if revision != MAIN and len(revision) < _OID_LENGTH and "/" not in revision:
        pointed = resolve_channel(session, repository, revision)
        if pointed is not None:
            return session.get_one(Commit, pointed)
    for kind, name in _readings(revision):
        if reference := find_reference(session, repository.id, kind, name):
            return session.get_one(Commit, reference.commit_oid)
    commit = find_commit(session, repository.id, revision) if _COMMIT.fullmatch(revision) else None
    if commit is None:
        raise RevisionNotFoundError(revision)
    return commit


def find_branch(session: Session, repository: Repository, revision: str) -> Reference:
    """The branch that a commit can go to.

    Raises:
        RevisionNotFoundError: There is no branch of this name.
    """
    branch = find_reference(session, repository.id, BRANCH, revision.removeprefix("refs/heads/"))
    if branch is None:
        raise RevisionNotFoundError(revision)
    return branch


def check_reference_name(name: str) -> str:
    """Return the name of a branch or tag unchanged when it is allowed.

    Raises:
        InvalidRequestError: It breaks the rules.
    """
    if not _NAME.fullmatch(name) or ".." in name or "//" in name or name.endswith(".lock") or "/." in name:
        raise InvalidRequestError(
            f"{name!r} cannot name a branch or tag: use up to 128 letters, digits, '.', '_', '-', '+' and single '/'"
        )
    if len(name) == _OID_LENGTH and _COMMIT.fullmatch(name):
        raise InvalidRequestError(f"{name!r} cannot name a branch or tag: it reads like a commit id")
    if name.startswith("refs/"):
        raise InvalidRequestError(f"{name!r} cannot name a branch or tag: leave out 'refs/…/'")
    return name


def _readings(revision: str) -> list[tuple[str, str]]:
    for prefix, kind in _PREFIXES.items():
        if revision.startswith(prefix):
            return [(kind, revision.removeprefix(prefix))]
    if version_of_tag(revision) is not None:
        return [(TAG, revision), (BRANCH, revision)]
    return [(BRANCH, revision), (TAG, revision)]
