"""Published versions: made by a tag on a verified module, never changed, at most yanked; and the channels to them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from semver import Version
from sqlalchemy.orm import Session

from petapter_registry_server.clock import now_ms
from petapter_registry_server.db import audit, repositories, versions
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.module_tables import ChannelMove, ModuleVersion
from petapter_registry_server.db.repositories import BRANCH, TAG
from petapter_registry_server.db.tables import Commit, ManifestRow, Repository
from petapter_registry_server.errors import RevisionNotFoundError, VersionRefusedError
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.channels import LATEST, STABLE
from petapter_registry_server.services.events import Event, Kind, announce
from petapter_registry_server.services.indexing import refresh_index
from petapter_registry_server.services.version_order import version_of_tag
from petapter_schemas.errors import InvalidNameError
from petapter_schemas.names import check_line
from petapter_schemas.version_rule import blocking_version

MAX_REASON_CHARACTERS = 200

_CHANNEL = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class VersionName:
    """A version of a repository, as callers name both."""

    repo_id: str
    version: str


@dataclass(frozen=True)
class ChannelName:
    """A channel of a repository, as callers name both."""

    repo_id: str
    channel: str


def publish_tag(session: Session, caller: Caller, repository: Repository, tag: str, commit: Commit) -> None:
    """Make a version of a tag that names one and stands on a verified module; other tags stay ordinary ones.

    Raises:
        VersionRefusedError: The module says another version, the version is too low, or there is no module though the
            repository publishes some.
    """
    number = version_of_tag(tag)
    if number is None:
        return
    published = versions.list_versions(session, repository.id)
    manifest = session.get(ManifestRow, commit.oid)
    if manifest is None:
        if published:
            raise VersionRefusedError(f"{tag} cannot stand on a commit without a module: tag the commit that holds one")
        return
    _check_number(number, manifest.version, published)
    versions.add_version(session, _new_version(caller, repository, number, commit))
    refresh_index(session, repository)
    detail = f"{number} {commit.oid}"
    audit.record(session, actor=caller.name, action="version.publish", subject=repository.full_name, detail=detail)
    announce(session, repository, Event("publish", caller.name, number, commit.oid, {"digest": manifest.digest}))


def check_name_is_free(session: Session, repository: Repository, kind: str, name: str) -> None:
    """Refuse names of branches and tags that would hide a version or a channel.

    Raises:
        VersionRefusedError: The name is a channel's, or a branch is called like a version.
    """
    if name in {LATEST, STABLE} or versions.find_channel(session, repository.id, name):
        raise VersionRefusedError(
            f"{name!r} is a channel, no {kind}: move it with 'petapter channel set', or choose another name"
        )
    if kind == BRANCH and version_of_tag(name) is not None:
        raise VersionRefusedError(f"{name!r} cannot name a branch: it reads like a version")


def check_may_delete(session: Session, repository: Repository, kind: str, name: str) -> None:
    """Refuse to remove a published version or a channel by the Hub's routes for tags and branches.

    Raises:
        VersionRefusedError: It is one.
    """
    number = version_of_tag(name)
    if kind == TAG and number is not None and versions.find_version(session, repository.id, number):
        raise VersionRefusedError(
            f"Cannot delete refs/tags/{name}: a published version never changes. "
            f"'petapter yank' hides it from search and from {LATEST!r}"
        )
    if versions.find_channel(session, repository.id, name) and not repositories.find_reference(
        session, repository.id, kind, name
    ):
        raise VersionRefusedError(f"Cannot delete {name}: it is a channel; end it with 'petapter channel remove'")


def _check_number(number: str, said: str, published: Sequence[ModuleVersion]) -> None:
    if said != number:
        raise VersionRefusedError(
            f"v{number} cannot stand on this commit: its petapter.json says version {said}; tag it v{said}, or push "
            f"the module with that version"
        )
    blocking = blocking_version(Version.parse(number), (Version.parse(row.version) for row in published))
    if blocking is not None:
        raise VersionRefusedError(
            f"version {number} is not higher than {blocking}, which is published: choose a higher one, or a patch that "
            f"is higher than all of its own MAJOR.MINOR"
        )


def _new_version(caller: Caller, repository: Repository, number: str, commit: Commit) -> ModuleVersion:
    return ModuleVersion(
        repository_id=repository.id,
        version=number,
        commit_oid=commit.oid,
        published_ms=now_ms(),
        published_by=caller.name,
        yanked_ms=None,
        yanked_by=None,
        yank_reason=None,
    )


class Versions:
    """Yanks and channels of one registry."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def yank(self, caller: Caller, name: VersionName, reason: str) -> None:
        """Hide a version from search and from `latest`, and warn whoever pulls it. Yanking again changes the reason.

        Raises:
            RevisionNotFoundError: There is no such version.
            VersionRefusedError: The reason is empty, too long, or not one line.
            PermissionDeniedError: The caller may not maintain the repository.
        """
        reason = _checked_reason(reason)
        with self._database.write() as session:
            repository, version = self._version(session, caller, name)
            version.yanked_ms, version.yanked_by, version.yank_reason = now_ms(), caller.name, reason
            self._changed(session, caller, repository, f"version.yank {version.version} {reason}")
            announce(session, repository, _event("yank", caller, version, {"reason": reason}))

    def unyank(self, caller: Caller, name: VersionName) -> None:
        """Show a yanked version again. Raises: as `yank`."""
        with self._database.write() as session:
            repository, version = self._version(session, caller, name)
            if version.yanked_ms is None:
                return
            version.yanked_ms = version.yanked_by = version.yank_reason = None
            self._changed(session, caller, repository, f"version.unyank {version.version}")
            announce(session, repository, _event("unyank", caller, version, {}))

    def set_channel(self, caller: Caller, name: ChannelName, version: str) -> None:
        """Let a channel point to a version; a channel that is not there is made.

        Raises:
            RevisionNotFoundError: There is no such version.
            VersionRefusedError: The name is not allowed or taken, or the version is yanked.
            PermissionDeniedError: The caller may not maintain the repository.
        """
        with self._database.write() as session:
            repository, found = self._version(session, caller, VersionName(name.repo_id, version))
            _check_channel_name(session, repository, name.channel)
            if found.yanked_ms is not None:
                raise VersionRefusedError(f"version {version} is yanked ({found.yank_reason}): choose another one")
            self._move(session, caller, repository, ChannelMove(name=name.channel, version=version))

    def end_channel(self, caller: Caller, name: ChannelName) -> None:
        """Remove a channel; its history stays.

        Raises:
            RevisionNotFoundError: There is none.
            PermissionDeniedError: The caller may not maintain the repository.
        """
        with self._database.write() as session:
            repository = self._access.maintainable(session, caller, name.repo_id)
            if versions.find_channel(session, repository.id, name.channel) is None:
                raise RevisionNotFoundError(name.channel)
            self._move(session, caller, repository, ChannelMove(name=name.channel, version=None))

    def _version(self, session: Session, caller: Caller, name: VersionName) -> tuple[Repository, ModuleVersion]:
        repository = self._access.maintainable(session, caller, name.repo_id)
        version = versions.find_version(session, repository.id, name.version)
        if version is None:
            raise RevisionNotFoundError(f"v{name.version}")
        return repository, version

    def _changed(self, session: Session, caller: Caller, repository: Repository, deed: str) -> None:
        session.flush()
        refresh_index(session, repository)
        action, _, detail = deed.partition(" ")
        audit.record(session, actor=caller.name, action=action, subject=repository.full_name, detail=detail)

    def _move(self, session: Session, caller: Caller, repository: Repository, move: ChannelMove) -> None:
        move.repository_id, move.at_ms, move.actor = repository.id, now_ms(), caller.name
        versions.move_channel(session, move)
        detail = f"{move.name} {move.version or '(ended)'}"
        audit.record(session, actor=caller.name, action="channel.move", subject=repository.full_name, detail=detail)


def _event(kind: Kind, caller: Caller, version: ModuleVersion, details: Mapping[str, object]) -> Event:
    return Event(kind, caller.name, version.version, version.commit_oid, details)


def _check_channel_name(session: Session, repository: Repository, name: str) -> None:
    if name == LATEST:
        raise VersionRefusedError(f"{LATEST!r} is always the highest version that is not yanked: set another channel")
    if not _CHANNEL.fullmatch(name) or name == "main":
        raise VersionRefusedError(
            f"{name!r} cannot name a channel: use 1 to 32 small letters, digits and '-', beginning with a letter"
        )
    for kind in (BRANCH, TAG):
        if repositories.find_reference(session, repository.id, kind, name):
            raise VersionRefusedError(f"{name!r} is a {kind} of {repository.full_name}: choose another name")


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    try:
        check_line(text)
    except InvalidNameError as error:
        raise VersionRefusedError(f"reason: {error}") from error
    if not 1 <= len(text) <= MAX_REASON_CHARACTERS:
        raise VersionRefusedError(f"reason: say in 1 to {MAX_REASON_CHARACTERS} characters why it should not be used")
    return text
