"""What a page shows of one revision of a module beyond what search knows: manifest, probe texts, files and card."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from petapter_registry_server.db import commits, gates
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.tables import Repository
from petapter_registry_server.errors import BlobUnavailableError, GatedError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.gates import Gates
from petapter_registry_server.services.revisions import At, resolve_revision
from petapter_registry_server.services.roles import Role
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import Tree, TreeFile
from petapter_schemas.errors import ManifestError
from petapter_schemas.golden import GOLDEN_FILE, Golden, parse_golden
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, parse_manifest

CARD_FILE = "README.md"
MAX_CARD_BYTES = 256 << 10
"""Longer cards are for downloading."""

_MAX_PROBES_BYTES = 1 << 20


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
        files: By path.
        card: None where there is none for this caller, or it is too long to be shown.
    """

    full_name: str
    commit: str
    role: Role | None
    gate: Gate | None
    manifest: Manifest | None
    probes: Golden | None
    files: tuple[TreeFile, ...]
    card: CardText | None

    @property
    def is_open(self) -> bool:
        """Whether the caller gets the files."""
        return self.gate is None or self.gate.is_in


class Showing:
    """Reads what pages show from one registry."""

    def __init__(self, database: Database, access: Access, gates: Gates, blobs: BlobStore) -> None:
        self._database = database
        self._access = access
        self._gates = gates
        self._blobs = blobs

    def revision(self, caller: Caller, at: At) -> ShownRevision:
        """A revision of a repository.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
            RevisionNotFoundError: The revision names no commit.
            BlobUnavailableError: The stored bytes of its manifest are damaged or missing.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, at.repo_id)
            commit = resolve_revision(session, repository, at.revision)
            tree = commits.read_tree(session, commit.oid)
            gate = self._gate(session, caller, repository)
            role = self._access.role(session, caller, repository)
        shown = gate is None or gate.is_in
        return ShownRevision(
            full_name=repository.full_name,
            commit=commit.oid,
            role=role,
            gate=gate,
            manifest=self._manifest(tree),
            probes=self._probes(tree) if shown else None,
            files=tuple(tree[path] for path in sorted(tree)),
            card=self._card(tree) if shown else None,
        )

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

    def _probes(self, tree: Tree) -> Golden | None:
        file = tree.get(GOLDEN_FILE)
        if file is None or MANIFEST_FILE not in tree or file.size > _MAX_PROBES_BYTES:
            return None
        try:
            return parse_golden(self._bytes(file))
        except (ManifestError, BlobUnavailableError):
            return None  # the page can do without; whoever downloads the file is told what is wrong

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
