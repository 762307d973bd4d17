"""What a page shows of one revision of a module: read at once, so that all of it is of the same commit and moment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from petapter_registry_server.db import commits, gates, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.errors import BlobUnavailableError, GatedError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.gates import Gates
from petapter_registry_server.services.measured_status import read_facts
from petapter_registry_server.services.modules import detail_of, lineage_of, searched_revision
from petapter_registry_server.services.revisions import resolve_revision
from petapter_registry_server.services.roles import Role
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import Tree, TreeFile
from petapter_schemas.errors import ManifestError
from petapter_schemas.golden import GOLDEN_FILE, Golden, parse_golden
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, parse_manifest
from petapter_schemas.module_facts import ModuleFacts
from petapter_schemas.plot_data import PLOT_DATA_FILE, PlotData, parse_plot_data
from petapter_schemas.registry_api import Lineage, ModuleDetail

CARD_FILE = "README.md"
MAX_CARD_BYTES = 256 << 10
"""Longer cards are for downloading."""

_MAX_DOCUMENT_BYTES = 1 << 20

Document = TypeVar("Document")


@dataclass(frozen=True)
class CardText:
    """A model card as it was pushed, with its digest."""

    sha256: str
    text: str


@dataclass(frozen=True)
class Gate:
    """Whose the files of a gated repository are.

    Attributes:
        mode: auto or manual.
        is_in: Whether the caller gets them.
        asked: What became of the caller's request; None where there was none.
    """

    mode: str
    is_in: bool
    asked: str | None


@dataclass(frozen=True)
class ShownRevision:
    """A revision as its page shows it.

    Attributes:
        full_name: The repository's name as it is written.
        commit: Its id.
        role: The most that the caller may do there.
        gate: None where the repository is open.
        manifest: None of a revision without a module.
        probes: Texts with the answers that the module must give; None where there are none for this caller.
        plot_data: The numbers behind plots that the manifest does not hold; None likewise.
        files: By path.
        card: None where there is none for this caller, or it is too long to be shown.
    """

    full_name: str
    commit: str
    role: Role | None
    gate: Gate | None
    manifest: Manifest | None
    probes: Golden | None
    plot_data: PlotData | None
    files: tuple[TreeFile, ...]
    card: CardText | None

    @property
    def is_open(self) -> bool:
        """Whether the caller gets the files."""
        return self.gate is None or self.gate.is_in


@dataclass(frozen=True)
class ShownModule:
    """A module as its page shows it at one revision.

    Attributes:
        detail: Its versions and channels.
        revision: The one that was asked for, else the one that search shows.
        shown: What is there.
        facts: What search knows of it; None without a module.
        lineage: Where it comes from, and what was made from it.
    """

    detail: ModuleDetail
    revision: str
    shown: ShownRevision
    facts: ModuleFacts | None
    lineage: Lineage


class Showing:
    """Reads what pages show from one registry."""

    def __init__(self, database: Database, access: Access, gates: Gates, blobs: BlobStore) -> None:
        self._database = database
        self._access = access
        self._gates = gates
        self._blobs = blobs

    def module(self, caller: Caller, repo_id: str, revision: str | None) -> ShownModule:
        """A module at a revision; None is the one that search shows.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
            RevisionNotFoundError: The revision names no commit.
            BlobUnavailableError: The stored bytes of its manifest are damaged or missing.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            published = versions.list_versions(session, repository.id)
            revision = revision or searched_revision(published)
            commit = resolve_revision(session, repository, revision)
            facts = read_facts(session, {commit.oid: repository.id}).get(commit.oid)
            detail = detail_of(session, repository, published)
            lineage = lineage_of(session, self._access.viewer(caller), repository, facts)
            tree = commits.read_tree(session, commit.oid)
            gate = self._gate(session, caller, repository)
            role = self._access.role(session, caller, repository)
        given: Tree = tree if gate is None or gate.is_in else {}
        shown = ShownRevision(
            full_name=detail.id,
            commit=commit.oid,
            role=role,
            gate=gate,
            manifest=self._manifest(tree),
            probes=self._document(given, GOLDEN_FILE, parse_golden),
            plot_data=self._document(given, PLOT_DATA_FILE, parse_plot_data),
            files=tuple(tree[path] for path in sorted(tree)),
            card=self._card(given),
        )
        return ShownModule(detail, revision, shown, facts, lineage)

    def role(self, caller: Caller, repo_id: str) -> Role | None:
        """The most that the caller may do to a repository. Raises: RepositoryNotFoundError."""
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            return self._access.role(session, caller, repository)

    def _gate(self, session: Session, caller: Caller, repository: Repository) -> Gate | None:
        mode = gates.read_modes(session, [repository.id]).get(repository.id)
        if mode is None:
            return None
        try:
            self._gates.check(session, caller, repository)
        except GatedError:
            is_in = False
        else:
            is_in = True
        request = gates.find_request(session, repository.id, caller.user_id) if caller.user_id is not None else None
        return Gate(mode, is_in, request.status if request else None)

    def _manifest(self, tree: Tree) -> Manifest | None:
        file = tree.get(MANIFEST_FILE)
        return None if file is None else parse_manifest(self._bytes(file))

    def _document(self, tree: Tree, path: str, parse: Callable[[bytes], Document]) -> Document | None:
        """A file of a module that the page can do without; whoever downloads it is told what is wrong."""
        file = tree.get(path)
        if file is None or MANIFEST_FILE not in tree or file.size > _MAX_DOCUMENT_BYTES:
            return None
        try:
            return parse(self._bytes(file))
        except (ManifestError, BlobUnavailableError):
            return None

    def _card(self, tree: Tree) -> CardText | None:
        file = tree.get(CARD_FILE)
        if file is None or file.size > MAX_CARD_BYTES:
            return None
        try:
            return CardText(file.sha256, self._bytes(file).decode("utf-8", "replace"))
        except BlobUnavailableError:
            return None

    def _bytes(self, file: TreeFile) -> bytes:
        try:
            return b"".join(self._blobs.open(file.sha256).chunks)
        except FileNotFoundError as error:
            raise BlobUnavailableError(file.path) from error
