"""One module: its versions, channels, lineage, what differs between two revisions, and what it runs on."""

import json
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from petapter_registry_server.clock import hub_date
from petapter_registry_server.db import commits, module_index, modules, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.module_search import Found
from petapter_registry_server.db.module_tables import ChannelMove, ModuleVersion
from petapter_registry_server.db.tables import Commit, Repository
from petapter_registry_server.db.visibility import Viewer
from petapter_registry_server.errors import BlobUnavailableError
from petapter_registry_server.services import version_order
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.channels import LATEST
from petapter_registry_server.services.compatibility import compare
from petapter_registry_server.services.measured_status import read_facts
from petapter_registry_server.services.module_search import found_module
from petapter_registry_server.services.revisions import At, resolve_revision
from petapter_registry_server.storage.blobs import BlobStore
from petapter_registry_server.tree import Tree
from petapter_schemas.comparing import field_changes, file_changes, metric_changes
from petapter_schemas.compatibility import verdict_of
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.module_facts import ModuleFacts
from petapter_schemas.registry_api import (
    ChannelList,
    ChannelState,
    ChannelStep,
    Compatibility,
    FoundModule,
    Lineage,
    LocalBackbone,
    ModuleDetail,
    ModuleDiff,
    Relative,
    VersionState,
    Yank,
)


class Modules:
    """Answers questions about single modules of one registry. All raise RepositoryNotFoundError where there is none."""

    def __init__(self, database: Database, access: Access, blobs: BlobStore) -> None:
        self._database = database
        self._access = access
        self._blobs = blobs

    def detail(self, caller: Caller, repo_id: str) -> ModuleDetail:
        """All versions and channels, and the facts at the version that search shows."""
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            return detail_of(session, repository, versions.list_versions(session, repository.id))

    def channels(self, caller: Caller, repo_id: str) -> ChannelList:
        """The channels and every step of each."""
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            newest = version_order.latest(versions.list_versions(session, repository.id))
            steps = versions.channel_history(session, repository.id)
            return ChannelList(
                channels=_channels(session, repository, newest),
                history=tuple(
                    ChannelStep(name=step.name, version=step.version, at=hub_date(step.at_ms), by=step.actor)
                    for step in steps
                ),
            )

    def diff(self, caller: Caller, before: At, after: At) -> ModuleDiff:
        """What differs between two revisions of one repository.

        Raises:
            RevisionNotFoundError: A revision names no commit.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, before.repo_id)
            oids = [resolve_revision(session, repository, at.revision).oid for at in (before, after)]
            old, new = (commits.read_tree(session, oid) for oid in oids)
            facts = read_facts(session, dict.fromkeys(oids, repository.id))
        return ModuleDiff(
            id=repository.full_name,
            before=oids[0],
            after=oids[1],
            fields=field_changes(self._manifest(old), self._manifest(new)),
            files=file_changes(old, new),
            metrics=metric_changes(facts.get(oids[0]), facts.get(oids[1])),
        )

    def lineage(self, caller: Caller, at: At) -> Lineage:
        """Where a revision comes from, and what search shows that was made from it.

        Raises:
            RevisionNotFoundError: The revision names no commit.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, at.repo_id)
            commit = resolve_revision(session, repository, at.revision)
            facts = read_facts(session, {commit.oid: repository.id}).get(commit.oid)
            return lineage_of(session, self._access.viewer(caller), repository, facts)

    def compatibility(self, caller: Caller, at: At, local: LocalBackbone) -> Compatibility:
        """Whether a module runs on a backbone.

        Raises:
            RevisionNotFoundError: The revision names no commit.
        """
        with self._database.read() as session:
            repository = self._access.readable(session, caller, at.repo_id)
            commit: Commit = resolve_revision(session, repository, at.revision)
            facts = read_facts(session, {commit.oid: repository.id}).get(commit.oid)
        reasons = compare(facts, local)
        return Compatibility.model_validate(
            {
                "module": f"{repository.full_name}@{at.revision}",
                "commit": commit.oid,
                "verdict": verdict_of(reasons),
                "reasons": reasons,
            }
        )

    def default_revision(self, caller: Caller, repo_id: str) -> str:
        """What a reference without a revision means: the version that search shows, else main."""
        with self._database.read() as session:
            repository = self._access.readable(session, caller, repo_id)
            return searched_revision(versions.list_versions(session, repository.id))

    def _manifest(self, tree: Tree) -> dict[str, object]:
        file = tree.get(MANIFEST_FILE)
        if file is None:
            return {}
        try:
            content = b"".join(self._blobs.open(file.sha256).chunks)
        except FileNotFoundError as error:
            raise BlobUnavailableError(file.path) from error
        document: dict[str, object] = json.loads(content)  # it was verified when it was pushed
        return document


def detail_of(session: Session, repository: Repository, published: Sequence[ModuleVersion]) -> ModuleDetail:
    """All versions and channels of a repository that published these, and the facts at the one that search shows."""
    published = version_order.newest_first(published)
    facts = read_facts(session, {row.commit_oid: repository.id for row in published})
    newest = version_order.latest(published)
    return ModuleDetail(
        id=repository.full_name,
        private=repository.private,
        latest=newest.version if newest else None,
        shown=_shown(session, repository),
        versions=tuple(_state(row, facts.get(row.commit_oid)) for row in published),
        channels=_channels(session, repository, newest),
    )


def searched_revision(published: Sequence[ModuleVersion]) -> str:
    """The revision that search shows of a repository that published these, else main."""
    shown = version_order.searched(published)
    return f"v{shown.version}" if shown else "main"


def lineage_of(session: Session, viewer: Viewer, repository: Repository, facts: ModuleFacts | None) -> Lineage:
    """Where a commit with these facts comes from, and what was made from it, as far as a viewer may see."""
    facts = facts or ModuleFacts(kind="petapter", size_bytes=0)
    parents = [digest for digest in (facts.parent, *facts.merged_from) if digest]
    known = _relatives(modules.versions_by_digest(session, parents, viewer))
    children = modules.made_from(session, facts.digest, viewer) if facts.digest else ()
    return Lineage(
        id=repository.full_name,
        version=facts.version,
        digest=facts.digest,
        backbone=facts.backbone.repo if facts.backbone else None,
        parent=known.get(facts.parent, Relative(digest=facts.parent)) if facts.parent else None,
        trained_from=facts.trained_from,
        merged_from=tuple(known.get(digest, Relative(digest=digest)) for digest in facts.merged_from),
        children=tuple(_relatives(children).values()),
    )


def _relatives(rows: Iterable[tuple[str, str, str]]) -> dict[str, Relative]:
    return {digest: Relative(digest=digest, id=name, version=version) for digest, name, version in rows}


def _shown(session: Session, repository: Repository) -> FoundModule | None:
    row = module_index.find_indexed(session, repository.id)
    if row is None:
        return None
    facts = read_facts(session, {row.commit_oid: repository.id})[row.commit_oid]
    return found_module(Found(row, repository, row.updated_ms), facts)


def _state(row: ModuleVersion, facts: ModuleFacts | None) -> VersionState:
    yanked = row.yanked_ms is not None
    return VersionState(
        version=row.version,
        tag=f"v{row.version}",
        commit=row.commit_oid,
        digest=facts.digest if facts else None,
        published=hub_date(row.published_ms),
        by=row.published_by,
        yanked=Yank(reason=row.yank_reason or "", at=hub_date(row.yanked_ms or 0), by=row.yanked_by or "")
        if yanked
        else None,
        metrics=facts.metrics if facts else (),
    )


def _channels(session: Session, repository: Repository, newest: ModuleVersion | None) -> tuple[ChannelState, ...]:
    derived = [ChannelState(name=LATEST, version=newest.version)] if newest else []
    return (*derived, *(_channel(move) for move in versions.list_channels(session, repository.id)))


def _channel(move: ChannelMove) -> ChannelState:
    return ChannelState(name=move.name, version=move.version or "", moved=hub_date(move.at_ms), by=move.actor)
