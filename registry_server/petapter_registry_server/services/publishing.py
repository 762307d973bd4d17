"""Publishing: scratch, re-hash, validation, lasting blobs, then one transaction that moves the branch.

Whatever fails before that transaction leaves nothing visible. The compare-and-swap on the parent commit is inside it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.db import audit, blobs, commits, module_index, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Commit, Reference, Repository
from petapter_registry_server.errors import BlobUnavailableError, InvalidRequestError, StaleParentError
from petapter_registry_server.failpoints import Reached, nothing
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.commit_ids import CommitText, new_commit
from petapter_registry_server.services.commit_lines import Received, named_file, read_commit
from petapter_registry_server.services.deriving import derive_facts
from petapter_registry_server.services.examination import Examined, Locate, examine, manifest_row
from petapter_registry_server.services.file_kinds import check_file_bytes
from petapter_registry_server.services.holding import hold_bytes
from petapter_registry_server.services.ignoring import (
    IGNORE_BYTES,
    IGNORE_FILE,
    Ignored,
    nothing_is_ignored,
    read_ignore_rules,
)
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.lfs_rules import (
    ATTRIBUTES_BYTES,
    ATTRIBUTES_FILE,
    FIRST_ATTRIBUTES_SHA256,
    GoesApart,
    by_size_alone,
    read_lfs_rules,
)
from petapter_registry_server.services.quotas import Quotas
from petapter_registry_server.services.revisions import At, find_branch
from petapter_registry_server.services.uploads import Uploads
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.storage.durable import link_or_copy
from petapter_registry_server.tree import Tree, TreeFile, apply_changes
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.module_facts import ModuleFacts

_ATTEMPTS = 5


@dataclass(frozen=True)
class Announced:
    """A file that a client is about to send."""

    path: str
    size: int


@dataclass(frozen=True)
class Plan:
    """How a client is to send a file, inside the commit or apart, and the id of what lies at its path already.

    The id is git's for files inside commits and the sha256 for others, as clients compare them. An ignored file is to
    stay at home.
    """

    path: str
    apart: bool
    oid: str | None
    ignored: bool = False


@dataclass(frozen=True)
class Published:
    """The head of the branch after a commit; the one before when nothing changed."""

    full_name: str
    oid: str


@dataclass(frozen=True)
class _Base:
    """What a commit builds on: the head that must still be there at the end, and its tree."""

    full_name: str
    namespace_id: int
    head_oid: str
    head_tree: Tree
    tree: Tree

    @property
    def is_head(self) -> bool:
        return self.tree is self.head_tree


class Publishing:
    """Takes commits for one registry."""

    def __init__(
        self,
        database: Database,
        access: Access,
        store: BlobStore,
        uploads: Uploads,
        quotas: Quotas,
        reached: Reached = nothing,
    ) -> None:
        self._database = database
        self._access = access
        self._store = store
        self._uploads = uploads
        self._limits = uploads.limits
        self._quotas = quotas
        self._reached = reached

    def scratch(self) -> AbstractContextManager[Path]:
        """A directory for the body of one commit."""
        return self._store.scratch()

    def check_body(self, size: int) -> None:
        """Refuse a body above the limit. Raises: TooLargeError."""
        self._limits.check_commit(size)

    def announce(
        self, caller: Caller, at: At, files: Sequence[Announced], ignore_rules: str | None = None
    ) -> list[Plan]:
        """How each file that a client is about to send is to come, and what lies at its path now.

        Clients leave out what is there already, so a file whose stored bytes are damaged is not there. They leave out
        too what is ignored by `ignore_rules`, the .gitignore of the commit to come, or else by the one that is there.
        As with git, a file that is there already is never ignored. Files go apart that are long, or that the
        .gitattributes of the branch gives to LFS.

        Raises:
            InvalidRequestError: The .gitignore cannot be read as one.
            BlobUnavailableError: Its bytes are missing.
            RepositoryNotFoundError: There is none for this caller.
            RevisionNotFoundError: There is no such branch.
            PermissionDeniedError: The caller may not write there.
            TooLargeError: A file is above the limit.
        """
        with self._database.read() as session:
            repository = self._access.writable(session, caller, at.repo_id)
            tree = commits.read_tree(session, find_branch(session, repository, at.revision).commit_oid)
            there = [tree[file.path] for file in files if file.path in tree]
            damaged = blobs.damaged_among(session, [file.sha256 for file in there])
        is_ignored = self._ignored(files, tree, ignore_rules)
        sent = [file for file in files if file.path in tree or not is_ignored(file.path)]
        for file in sent:
            self._limits.check_file(file.path, file.size)
        good = {f.path: f for f in there if f.sha256 not in damaged and self._store.size(f.sha256) == f.size}
        goes_apart = self._lfs_rules(tree) if files else by_size_alone
        plans = {
            file.path: _plan(file, good.get(file.path), apart=self._is_long(file) or goes_apart(file.path))
            for file in sent
        }
        return [plans.get(file.path, Plan(file.path, apart=False, oid=None, ignored=True)) for file in files]

    def _ignored(self, files: Sequence[Announced], tree: Tree, rules: str | None) -> Ignored:
        """Whether a path is ignored; what the client says of its .gitignore counts before the one that is there."""
        kept = tree.get(IGNORE_FILE)
        if rules is None and files and kept is not None:
            try:
                rules = self._text(kept, IGNORE_BYTES + 1)
            except FileNotFoundError as error:
                raise BlobUnavailableError(kept.path) from error
        return nothing_is_ignored if rules is None else read_ignore_rules(rules)

    def _lfs_rules(self, tree: Tree) -> GoesApart:
        """What the .gitattributes of a tree gives to LFS; one whose bytes are missing waits to be pushed again."""
        kept = tree.get(ATTRIBUTES_FILE)
        if kept is None or kept.sha256 == FIRST_ATTRIBUTES_SHA256:
            return by_size_alone
        try:
            return read_lfs_rules(self._text(kept, ATTRIBUTES_BYTES + 1))
        except FileNotFoundError:
            return by_size_alone

    def _is_long(self, file: Announced) -> bool:
        return file.size > self._limits.inline_bytes

    def _text(self, file: TreeFile, most_bytes: int) -> str:
        return b"".join(self._store.open(file.sha256, 0, most_bytes).chunks).decode("utf-8", "replace")

    def check_may_commit(self, caller: Caller, at: At) -> None:
        """Refuse before the body is read what would be refused after it. Raises: as `announce`."""
        self.announce(caller, at, ())

    def commit(self, caller: Caller, at: At, body: Path, scratch: Path) -> Published:
        """Publish the commit whose body lies in `body`; its files are put below `scratch`.

        Without a parent in its header a commit is applied to whatever the head is. A commit that changes nothing, or
        that a client sends again because it never saw the answer, gives the head as it is, and heals what is damaged.

        Raises:
            StaleParentError: The branch is not at the parent that the commit names.
            QuotaExceededError: The namespace would hold more than it may.
            PetapterError: Whatever else is wrong with the commit, see `read_commit` and `examine`.
        """
        received = self._with_named(caller, at, read_commit(body, scratch, self._limits), scratch)
        self._reached("received")
        for _ in range(_ATTEMPTS):
            base = self._base(caller, at, received)
            tree = apply_changes(base.tree, received.changes)
            if tree == base.head_tree:
                self._heal(received)
                return Published(base.full_name, base.head_oid)
            if not base.is_head:
                break
            self._limits.check_tree(len(tree))
            sizes = {file.sha256: file.size for file in tree.values()}
            self._quotas.check_bytes(base.namespace_id, base.full_name.partition("/")[0], sizes)
            content = _checked(tree, lambda file: self._locate(file, received, scratch))
            self._reached("examined")
            self._store.promote(received.contents)
            self._reached("promoted")
            oid = self._record(caller, at, _Result(received, base, content))
            if oid is not None:
                self._reached("committed")
                return Published(base.full_name, oid)
            if received.header.parent is not None:
                break
        raise StaleParentError

    def squash(self, caller: Caller, at: At, message: str) -> str:
        """Make a branch one commit without parents that holds what its head holds; return its id.

        Raises:
            InvalidRequestError: A published version is among the commits that the branch would lose.
            StaleParentError: The branch moved meanwhile.
            RepositoryNotFoundError: There is none for this caller.
            RevisionNotFoundError: There is no such branch.
            PermissionDeniedError: The caller may not write there.
        """
        with self._database.read() as session:
            repository = self._access.maintainable(session, caller, at.repo_id)
            head_oid = find_branch(session, repository, at.revision).commit_oid
            tree = commits.read_tree(session, head_oid)
        with self._store.scratch() as scratch:
            content = _checked(tree, lambda file: self._local_file(file, scratch))
        with self._database.write() as session:
            repository = self._access.maintainable(session, caller, at.repo_id)
            branch = find_branch(session, repository, at.revision)
            if branch.commit_oid != head_oid:
                raise StaleParentError
            _refuse_published(session, repository, branch)
            text = CommitText(message, "", caller.name)
            oid = _insert(session, repository, branch, new_commit(repository.id, None, tree, text), content)
            audit.record(
                session, actor=caller.name, action="squash", subject=repository.full_name, detail=f"{branch.name} {oid}"
            )
        return oid

    def _with_named(self, caller: Caller, at: At, received: Received, scratch: Path) -> Received:
        """The commit with the files that were sent apart, as if they had come in it."""
        if not received.named:
            return received
        with self._database.read() as session:
            repository_id = self._access.writable(session, caller, at.repo_id).id
        sizes = self._uploads.sizes_of(caller, repository_id, {file.sha256: file.size for file in received.named})
        files = [named_file(file, sizes[file.sha256]) for file in received.named]
        apart = {
            file.path: self._examined_apart(file, scratch, scratch / f"apart-{number}")
            for number, file in enumerate(files)
        }
        changes = replace(received.changes, written=(*received.changes.written, *files))
        return replace(received, changes=changes, locations=received.locations | apart)

    def _examined_apart(self, file: TreeFile, scratch: Path, location: Path) -> Path:
        """A file that was sent apart, under a name in scratch that nobody takes away."""
        link_or_copy(self._local_file(file, scratch), location)
        check_file_bytes(file.path, location)
        return location

    def _base(self, caller: Caller, at: At, received: Received) -> _Base:
        parent = received.header.parent
        with self._database.read() as session:
            repository = self._access.writable(session, caller, at.repo_id)
            head_oid = find_branch(session, repository, at.revision).commit_oid
            head_tree = commits.read_tree(session, head_oid)
            base = _Base(repository.full_name, repository.namespace_id, head_oid, head_tree, head_tree)
            if parent is None or head_oid.startswith(parent):
                return base
            before = session.get_one(Commit, head_oid).parent_oid
            if before is None or not before.startswith(parent):
                raise StaleParentError
            return replace(base, tree=commits.read_tree(session, before))

    def _locate(self, file: TreeFile, received: Received, scratch: Path) -> Path:
        """In scratch, or, for files of the base, among the blobs."""
        location = received.locations.get(file.path)
        return self._local_file(file, scratch) if location is None else location

    def _local_file(self, file: TreeFile, scratch: Path) -> Path:
        try:
            return self._store.local_file(file.sha256, scratch)
        except FileNotFoundError as error:
            raise BlobUnavailableError(file.path) from error

    def _heal(self, received: Received) -> None:
        """Store the bytes of a commit that changes nothing where a scrub found the stored ones damaged, or none are."""
        digests = [file.sha256 for file in received.changes.written]
        with self._database.read() as session:
            damaged = blobs.damaged_among(session, digests)
        if damaged or any(self._store.size(file.sha256) != file.size for file in received.changes.written):
            self._store.promote(received.contents)
            with self._database.write() as session:
                hold_bytes(session, self._store, received.contents)

    def _record(self, caller: Caller, at: At, result: "_Result") -> str | None:
        """Insert the commit and move the branch, unless it moved meanwhile."""
        with self._database.write() as session:
            repository = self._access.writable(session, caller, at.repo_id)
            branch = find_branch(session, repository, at.revision)
            if branch.commit_oid != result.base.head_oid:
                return None
            header = result.received.header
            text = CommitText(header.summary, header.description, caller.name)
            commit = new_commit(repository.id, branch.commit_oid, result.content.tree, text)
            self._reached("locked")
            hold_bytes(session, self._store, result.received.contents)
            self._reached("held")
            oid = _insert(session, repository, branch, commit, result.content)
            detail = f"{branch.name} {oid}"
            audit.record(session, actor=caller.name, action="commit", subject=repository.full_name, detail=detail)
            self._reached("inserted")
            return oid


def _plan(file: Announced, there: TreeFile | None, *, apart: bool) -> Plan:
    """Clients send empty files inside the commit, whatever they are told."""
    apart = apart and file.size > 0
    if there is None:
        return Plan(file.path, apart, None)
    return Plan(file.path, apart, there.sha256 if apart else there.git_oid)


@dataclass(frozen=True)
class _Content:
    """What a commit holds, what was found in it, and what search may know of it."""

    tree: Tree
    examined: Examined
    facts: ModuleFacts | None


def _checked(tree: Tree, locate: Locate) -> _Content:
    """Check a tree as a whole. Raises: as `examine` and `derive_facts`."""
    examined = examine(tree, locate)
    return _Content(tree, examined, derive_facts(tree, examined.manifest, locate))


@dataclass(frozen=True)
class _Result:
    """A checked commit, ready to be recorded."""

    received: Received
    base: _Base
    content: _Content


def _insert(session: Session, repository: Repository, branch: Reference, commit: Commit, content: _Content) -> str:
    """Record a commit with all that is derived from it, and move the branch to it."""
    examined = content.examined
    commits.add_commit(session, commit, content.tree.values())
    commits.add_card(session, commit.oid, examined.card, search_text=examined.search_text(repository.full_name))
    if examined.manifest is not None:
        digest = content.tree[MANIFEST_FILE].sha256
        commits.add_manifest(session, manifest_row(commit.oid, digest, examined.manifest))
    module_index.put_facts(session, commit.oid, content.facts)
    branch.commit_oid = commit.oid
    refresh_index(session, repository)
    repository.updated_ms = commit.created_ms
    return commit.oid


def _refuse_published(session: Session, repository: Repository, branch: Reference) -> None:
    """A version that is published stays in the history of its branch."""
    published = {version.commit_oid: version.version for version in versions.list_versions(session, repository.id)}
    for oid in commits.ancestors(session, branch.commit_oid):
        if oid in published:
            raise InvalidRequestError(
                f"{branch.name} cannot be squashed: v{published[oid]} is published, and its history stays as it is"
            )
