"""Reading: what a repository is, its tree, its files and its history, for callers who may see it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.card import Card
from petapter_registry_server.db import blobs, commits, downloads, gates, repositories, search
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.search import Listed, ListQuery, Position
from petapter_registry_server.db.tables import Commit, Reference, Repository
from petapter_registry_server.errors import BlobUnavailableError, EntryNotFoundError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.gates import Gates
from petapter_registry_server.services.revisions import At, resolve_revision
from petapter_registry_server.services.yanks import Notice, notice_about
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import Folder, Tree, TreeFile, folders
from petapter_schemas.adapter_files import ADAPTER_CONFIG_FILE
from petapter_schemas.manifest import MANIFEST_FILE

_ADDRESS_SECONDS = 900


@dataclass(frozen=True)
class Model:
    """A repository at one commit, as model_info and list_models show it."""

    full_name: str
    private: bool
    created_ms: int
    updated_ms: int
    oid: str
    card: Card
    tags: Sequence[str]
    tree: Tree
    downloads: int
    gated: str | None

    @property
    def author(self) -> str:
        """The namespace."""
        return self.full_name.partition("/")[0]


@dataclass(frozen=True)
class Page:
    """Some models, and where the next page begins; None after the last."""

    models: Sequence[Model]
    next: Position | None


@dataclass(frozen=True)
class CommitLine:
    """A commit as the history lists it."""

    oid: str
    title: str
    message: str
    author: str
    created_ms: int


@dataclass(frozen=True)
class FoundFile:
    """A file of a commit.

    Attributes:
        file: Which.
        commit_oid: Of which commit.
        repository_id: Of which repository.
        is_first: Whether it is the one that a loader of the whole commit reads first.
        notice: What whoever reads it should know.
    """

    file: TreeFile
    commit_oid: str
    repository_id: int
    is_first: bool
    notice: Notice | None = None


@dataclass(frozen=True)
class Stored:
    """A repository, and the bytes that all its versions hold, each content once."""

    repository: Repository
    size: int


class Reading:
    """Answers questions about one registry's content."""

    def __init__(
        self,
        database: Database,
        access: Access,
        gates: Gates,
        store: BlobStore,
        redirect_above_bytes: int | None = None,
    ) -> None:
        self._database = database
        self._access = access
        self._gates = gates
        self._store = store
        self._redirect_above_bytes = redirect_above_bytes

    def model(self, caller: Caller, at: At) -> Model:
        """A repository at a revision.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
            RevisionNotFoundError: The revision names no commit.
        """
        return self._database.answers.recall(
            caller.state, ("model", caller, at), lambda: self._model(caller, at), weigh=_weight
        )

    def _model(self, caller: Caller, at: At) -> Model:
        with self._commit(caller, at) as (session, repository, commit):
            listed = Listed(repository, commit, commits.read_card_row(session, commit.oid))
            return _models(session, [listed], with_trees=True)[0]

    def stored_bytes(self, caller: Caller, repo_id: str) -> int:
        """Bytes that all versions of a repository hold, each content once."""
        return self._database.answers.recall(
            caller.state, ("stored", caller, repo_id), lambda: self._stored_bytes(caller, repo_id)
        )

    def _stored_bytes(self, caller: Caller, repo_id: str) -> int:
        with self._database.read() as session:
            return commits.stored_bytes(session, self._access.readable(session, caller, repo_id).id)

    def list_models(self, caller: Caller, query: ListQuery, *, with_trees: bool) -> Page:
        """One page of the repositories that the caller may see, at the head of main."""
        with self._database.read() as session:
            rows = search.list_repositories(session, query, self._access.viewer(caller))
            models = _models(session, rows, with_trees=with_trees)
        full = len(rows) == query.limit
        return Page(models, search.position_of(rows[-1]) if full else None)

    def own_repositories(self, caller: Caller, namespace: str | None) -> list[Stored]:
        """Every repository of a namespace that the caller belongs to, by name, and what each takes.

        Args:
            caller: Who asks.
            namespace: Which; None for all.
        """
        with self._database.read() as session:
            rows = search.list_own(session, self._access.viewer(caller), namespace)
            return [Stored(row, commits.stored_bytes(session, row.id)) for row in rows]

    def tree(self, caller: Caller, at: At, folder: str) -> tuple[str, list[TreeFile | Folder]]:
        """The commit, and everything below a folder ('' is the root), by path; the folder itself left out.

        Raises:
            EntryNotFoundError: There is no such folder.
        """
        with self._commit(caller, at) as (session, _, commit):
            files = commits.read_tree(session, commit.oid)
        all_folders = folders(files)
        if folder not in all_folders:
            raise EntryNotFoundError(folder, commit.oid)
        inside = f"{folder}/" if folder else ""
        entries: list[TreeFile | Folder] = [*files.values(), *(f for path, f in all_folders.items() if path)]
        return commit.oid, sorted((e for e in entries if e.path.startswith(inside)), key=lambda entry: entry.path)

    def paths(self, caller: Caller, at: At, paths: Sequence[str]) -> list[TreeFile | Folder]:
        """The files and folders among `paths` that exist."""
        with self._commit(caller, at) as (session, _, commit):
            files = commits.read_tree(session, commit.oid)
        found: dict[str, TreeFile | Folder] = {**folders(files), **files}
        return [found[path] for path in dict.fromkeys(paths) if path in found and path]

    def file(self, caller: Caller, at: At, path: str) -> FoundFile:
        """One file of a commit.

        Raises:
            EntryNotFoundError: There is no such file.
            GatedError: The caller was not let in.
            BlobUnavailableError: A scrub found its bytes damaged.
        """
        return self._database.answers.recall(
            caller.state, ("file", caller, at, path), lambda: self._file(caller, at, path)
        )

    def _file(self, caller: Caller, at: At, path: str) -> FoundFile:
        with self._commit(caller, at) as (session, repository, commit):
            self._gates.check(session, caller, repository)
            file = commits.find_file(session, commit.oid, path)
            is_first = path == MANIFEST_FILE or (
                path == ADAPTER_CONFIG_FILE and commits.find_file(session, commit.oid, MANIFEST_FILE) is None
            )
            notice = notice_about(session, repository, commit.oid)
            is_damaged = file is not None and blobs.is_damaged(session, file.sha256)
        if file is None:
            raise EntryNotFoundError(path, commit.oid)
        if is_damaged:
            raise BlobUnavailableError(path)
        return FoundFile(file, commit.oid, repository.id, is_first, notice)

    def notice(self, caller: Caller, at: At) -> Notice | None:
        """What whoever uses a revision should know; None when there is nothing."""
        with self._commit(caller, at) as (session, repository, commit):
            return notice_about(session, repository, commit.oid)

    def open(self, file: TreeFile, begin: int, end: int) -> Iterator[bytes]:
        """The bytes from `begin` up to, and without, `end` of a file that `file` found.

        Raises:
            BlobUnavailableError: They are missing, or the stored file has another size.
            StoreError: The blob store does not answer.
        """
        try:
            content = self._store.open(file.sha256, begin, end)
        except FileNotFoundError as error:
            raise BlobUnavailableError(file.path) from error
        if content.size != file.size:
            raise BlobUnavailableError(file.path)
        return content.chunks

    def address(self, file: TreeFile) -> str | None:
        """Where else the bytes can be had for a few minutes, for files that are large enough to send clients there."""
        if self._redirect_above_bytes is None or file.size <= self._redirect_above_bytes:
            return None
        return self._store.address(file.sha256, _ADDRESS_SECONDS)

    def references(self, caller: Caller, repo_id: str) -> Sequence[Reference]:
        """Branches and tags by name."""
        with self._database.read() as session:
            return repositories.list_references(session, self._access.readable(session, caller, repo_id).id)

    def history(self, caller: Caller, at: At, *, limit: int) -> list[CommitLine]:
        """A commit and its ancestors, newest first."""
        with self._commit(caller, at) as (session, _, commit):
            chain = commits.history(session, commit.oid, limit=limit)
        return [_line(older) for older in chain]

    def last_changes(self, caller: Caller, at: At) -> dict[str, CommitLine]:
        """For every file and folder of a commit, the commit that last changed it."""
        with self._commit(caller, at) as (session, _, commit):
            return _last_changes(session, commit)

    def check_downloadable(self, caller: Caller, repo_id: str) -> None:
        """Raises: RepositoryNotFoundError when there is none for this caller, GatedError when it is gated for them."""
        with self._database.read() as session:
            self._gates.check(session, caller, self._access.readable(session, caller, repo_id))

    def check_writable(self, caller: Caller, repo_id: str) -> None:
        """Raises: as `Access.writable`."""
        with self._database.read() as session:
            self._access.writable(session, caller, repo_id)

    @contextmanager
    def _commit(self, caller: Caller, at: At) -> Iterator[tuple[Session, Repository, Commit]]:
        with self._database.read() as session:
            repository = self._access.readable(session, caller, at.repo_id)
            yield session, repository, resolve_revision(session, repository, at.revision)


def _models(session: Session, rows: Sequence[Listed], *, with_trees: bool) -> list[Model]:
    tags = commits.read_tags(session, [row.commit.oid for row in rows])
    ids = [row.repository.id for row in rows]
    totals, modes = downloads.read_downloads(session, ids), gates.read_modes(session, ids)
    return [
        Model(
            full_name=row.repository.full_name,
            private=row.repository.private,
            created_ms=row.repository.created_ms,
            updated_ms=row.repository.updated_ms,
            oid=row.commit.oid,
            card=Card(row.card.data),
            tags=tags[row.commit.oid],
            tree=commits.read_tree(session, row.commit.oid) if with_trees else {},
            downloads=totals[row.repository.id],
            gated=modes.get(row.repository.id),
        )
        for row in rows
    ]


def _weight(model: Model) -> int:
    return 4 + len(model.tree)  # 4: what a model has besides its files


def _line(commit: Commit) -> CommitLine:
    return CommitLine(commit.oid, commit.title, commit.message, commit.author, commit.created_ms)


def _last_changes(session: Session, commit: Commit) -> dict[str, CommitLine]:
    """Walk back until every path has met a parent that lacks it or holds other content."""
    waiting = _git_oids(commits.read_tree(session, commit.oid))
    found: dict[str, CommitLine] = {}
    current: Commit | None = commit
    while waiting and current is not None:
        parent = session.get_one(Commit, current.parent_oid) if current.parent_oid else None
        before = _git_oids(commits.read_tree(session, parent.oid)) if parent else {}
        changed = [path for path, oid in waiting.items() if before.get(path) != oid]
        found.update(dict.fromkeys(changed, _line(current)))
        waiting = {path: oid for path, oid in waiting.items() if path not in found}
        current = parent
    return found


def _git_oids(tree: Tree) -> dict[str, str]:
    oids = {path: folder.git_oid for path, folder in folders(tree).items()}
    oids.update({path: file.git_oid for path, file in tree.items()})
    return oids
