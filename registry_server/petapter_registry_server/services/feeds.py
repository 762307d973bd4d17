"""What happened last in a namespace, or to one module, for feeds: versions published, and yanked."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from petapter_registry_server.db import feeds
from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.feeds import Told
from petapter_registry_server.db.own_values import known_value
from petapter_registry_server.services.access import Access, Caller
from petapter_registry_server.services.belonging import IDENTITY
from petapter_registry_server.services.namespaces import find_visible

_MOST = 50


@dataclass(frozen=True)
class FeedEntry:
    """Something that happened.

    Attributes:
        id: The same for ever, whatever the registry's address and the module's name become.
        module: Its name now.
        version: SemVer.
        is_yank: Whether it was yanked; else it was published.
        at_ms: When.
        by: Who did it.
        reason: Of a yank.
    """

    id: str
    module: str
    version: str
    is_yank: bool
    at_ms: int
    by: str
    reason: str | None


@dataclass(frozen=True)
class Feed:
    """The last things that happened, newest first; `name` is `team` or `team/tickets`."""

    id: str
    name: str
    updated_ms: int
    entries: Sequence[FeedEntry]


class Feeds:
    """The feeds of one registry, each as far as its reader may see."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def of_namespace(self, caller: Caller, name: str) -> Feed:
        """The feed of a user's or an organisation's modules.

        Raises:
            NamespaceNotFoundError: There is none for this caller.
        """

        def read() -> Feed:
            with self._database.read() as session:
                namespace = find_visible(session, self._access, caller, name)
                named = (namespace.name, f"namespace {namespace.id}")
                return self._feed(session, caller, named, feeds.in_namespace(namespace.id), namespace.created_ms)

        return self._database.answers.recall(caller.state, ("feed", caller, name), read, _weight)

    def of_module(self, caller: Caller, repo_id: str) -> Feed:
        """The feed of one module.

        Raises:
            RepositoryNotFoundError: There is none for this caller.
        """

        def read() -> Feed:
            with self._database.read() as session:
                repository = self._access.readable(session, caller, repo_id)
                named = (repository.full_name, f"repository {repository.id}")
                return self._feed(session, caller, named, feeds.in_repository(repository.id), repository.created_ms)

        return self._database.answers.recall(caller.state, ("feed", caller, repo_id), read, _weight)

    def _feed(
        self, session: Session, caller: Caller, named: tuple[str, str], place: ColumnElement[bool], since_ms: int
    ) -> Feed:
        viewer, registry = self._access.viewer(caller), known_value(session, IDENTITY) or ""
        published = feeds.last_published(session, viewer, place, limit=_MOST)
        yanked = feeds.last_yanked(session, viewer, place, limit=_MOST)
        entries = sorted([*_published(registry, published), *_yanked(registry, yanked)], key=_newest_first)[:_MOST]
        name, number = named
        return Feed(_urn(registry, number), name, entries[0].at_ms if entries else since_ms, entries)


def _published(registry: str, rows: Sequence[Told]) -> Iterator[FeedEntry]:
    for version, repository in rows:
        identity = _urn(registry, f"publish {repository.id} {version.version}")
        yield FeedEntry(
            identity, repository.full_name, version.version, is_yank=False, at_ms=version.published_ms,
            by=version.published_by, reason=None,
        )  # fmt: skip


def _yanked(registry: str, rows: Sequence[Told]) -> Iterator[FeedEntry]:
    for version, repository in rows:
        at_ms = version.yanked_ms or 0
        identity = _urn(registry, f"yank {repository.id} {version.version} {at_ms}")
        yield FeedEntry(
            identity, repository.full_name, version.version, is_yank=True, at_ms=at_ms,
            by=version.yanked_by or "", reason=version.yank_reason,
        )  # fmt: skip


def _newest_first(entry: FeedEntry) -> tuple[int, str]:
    return -entry.at_ms, entry.id


def _urn(registry: str, what: str) -> str:
    """A name that nothing else has, in this registry or in another."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"petapter-registry {registry} {what}").urn


def _weight(feed: Feed) -> int:
    return 1 + len(feed.entries)
