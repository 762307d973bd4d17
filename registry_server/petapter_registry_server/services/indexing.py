"""What search looks at: the latest version of a module, or the head of main where no version was ever published.

A repository whose versions are all yanked, and a deleted one, are not found.
"""

from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from petapter_registry_server.db import commits, module_index, repositories, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.module_tables import IndexedModule
from petapter_registry_server.db.repositories import BRANCH, MAIN
from petapter_registry_server.db.tables import Commit, Repository
from petapter_registry_server.services import version_order
from petapter_registry_server.services.deriving import derive_facts
from petapter_registry_server.services.measured_status import read_facts
from petapter_registry_server.services.terms import terms_of
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import TreeFile
from petapter_schemas.adapter_files import ADAPTER_CONFIG_FILE
from petapter_schemas.manifest import MANIFEST_FILE, parse_manifest


def refresh_index(session: Session, repository: Repository) -> None:
    """Let search see what a repository holds; to be called in the transaction of whatever changes that."""
    row = _searched(session, repository) if repository.deleted_ms is None else None
    facts = read_facts(session, {row.commit_oid: repository.id}).get(row.commit_oid) if row else None
    if row is None or facts is None:
        module_index.remove(session, repository.id)
        return
    row.size_bytes = facts.size_bytes
    module_index.put(session, row, terms_of(repository.full_name, facts), facts)


def _searched(session: Session, repository: Repository) -> IndexedModule | None:
    published = versions.list_versions(session, repository.id)
    if published:
        shown = version_order.searched(published)
        return _row(repository, shown.commit_oid, shown.version, shown.published_ms) if shown else None
    main = repositories.find_reference(session, repository.id, BRANCH, MAIN)
    if main is None:
        return None
    return _row(repository, main.commit_oid, None, session.get_one(Commit, main.commit_oid).created_ms)


def _row(repository: Repository, commit_oid: str, version: str | None, updated_ms: int) -> IndexedModule:
    return IndexedModule(
        repository_id=repository.id,
        commit_oid=commit_oid,
        version=version,
        updated_ms=updated_ms,
        name=repository.lookup,
        size_bytes=0,
    )


class Indexing:
    """Makes the whole index again from commits, versions and blobs."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def fill(self) -> None:
        """Make the index when the database was made before there was one."""
        with self._database.read() as session:
            unfilled = module_index.is_unfilled(session)
        if unfilled:
            self.rebuild()

    def rebuild(self) -> int:
        """Derive everything again, one transaction for each repository, and return how many modules search finds."""
        with self._database.read() as session:
            living = module_index.living_repositories(session)
            gone = sorted(set(module_index.indexed_repositories(session)) - set(living))
        for repository_id in [*living, *gone]:
            with self._database.write() as session:
                repository = session.get_one(Repository, repository_id)
                self._derive(session, repository)
                refresh_index(session, repository)
        with self._database.read() as session:
            return len(module_index.indexed_repositories(session))

    def _derive(self, session: Session, repository: Repository) -> None:
        for oid in module_index.commits_with(session, repository.id, (MANIFEST_FILE, ADAPTER_CONFIG_FILE)):
            tree = commits.read_tree(session, oid)
            stored = tree.get(MANIFEST_FILE)
            with self._blobs.scratch() as scratch:
                locate = partial(self._locate, scratch)
                manifest = parse_manifest(locate(stored).read_bytes()) if stored else None
                facts = derive_facts(tree, manifest, locate)
            module_index.put_facts(session, oid, facts)

    def _locate(self, scratch: Path, file: TreeFile) -> Path:
        return self._blobs.local_file(file.sha256, scratch)
