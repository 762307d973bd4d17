"""What a reference means: which commit of which repository, and what its manifest says, without any weights."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from petapter_hub_client.cache import check_commit
from petapter_hub_client.downloading import RemoteFile, read_small
from petapter_hub_client.hub import Hub, asking
from petapter_hub_client.maintaining import find_detail, shown_revision, yank_of
from petapter_hub_client.remotes import Remote
from petapter_hub_client.suggestions import did_you_mean
from petapter_hub_client.versions import newest_tag, newest_tags
from petapter_schemas.errors import RemoteError, RemoteNotFoundError
from petapter_schemas.manifest import MANIFEST_FILE
from petapter_schemas.references import Reference
from petapter_schemas.strict_json import MAX_JSON_BYTES

_MAIN = "main"
_ASKED_FOR_NAMES = 500
_SHOWN_VERSIONS = 5
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resolved:
    """A reference after the remote said which commit it means.

    Attributes:
        remote: Where the module is.
        repo_id: namespace/name.
        revision: What was asked for or, when nothing was, the tag of the newest version or "main".
        commit: 40 hex digits.
    """

    remote: Remote
    repo_id: str
    revision: str
    commit: str

    @property
    def reference(self) -> str:
        """The reference with nothing left to guess but the commit."""
        return str(Reference(self.remote.name, self.repo_id, self.revision))


def resolve(hub: Hub, reference: Reference) -> Resolved:
    """Ask the remote which commit a reference means, and warn of a version that was yanked.

    Without a revision it is the newest version; on a registry, of those that are not yanked.

    Raises:
        RemoteNotFoundError: The remote has no such module or revision; the nearest names are offered.
        RemoteError: It fails.
    """
    revision = reference.revision
    detail = find_detail(hub, reference.repo_id)
    if revision is None and detail is not None:
        revision = shown_revision(detail)
    try:
        with asking(hub.remote, str(reference)):
            if revision is None:
                refs = hub.api.list_repo_refs(reference.repo_id)
                revision = newest_tag(tag.name for tag in refs.tags) or _MAIN
            info = hub.api.model_info(reference.repo_id, revision=revision)
    except RemoteNotFoundError as error:
        channels = [channel.name for channel in detail.channels] if detail is not None else []
        raise RemoteNotFoundError(f"{error}{_nearest(hub, reference, channels)}") from error
    commit = check_commit(info.sha)
    if detail is not None and (yank := yank_of(detail, commit)) is not None:
        _LOG.warning("%s", yank)
    return Resolved(hub.remote, reference.repo_id, revision, commit)


def read_remote_manifest(hub: Hub, resolved: Resolved) -> bytes:
    """The raw manifest of a module on a remote.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    return read_small(hub, RemoteFile(resolved.repo_id, resolved.commit, MANIFEST_FILE), MAX_JSON_BYTES)


def _nearest(hub: Hub, reference: Reference, channels: Sequence[str]) -> str:
    """Words about the nearest revision or module, to end an error with; nothing where the remote does not help."""
    try:
        if reference.revision is not None and (revisions := _revisions(hub, reference.repo_id)) is not None:
            return _versions(revisions) + did_you_mean(reference.revision, [*channels, *revisions])
        return _nearest_module(hub, reference.repo_id)
    except RemoteError:
        return ""


def _revisions(hub: Hub, repo_id: str) -> list[str] | None:
    """Tags and branches; None where it is the module that is missing."""
    try:
        with asking(hub.remote, repo_id):
            refs = hub.api.list_repo_refs(repo_id)
    except RemoteNotFoundError:
        return None
    return [ref.name for ref in (*refs.tags, *refs.branches)]


def _versions(revisions: Sequence[str]) -> str:
    newest = newest_tags(revisions)
    if len(newest) > 1:
        return f"; its newest versions are {', '.join(newest[:_SHOWN_VERSIONS])}"
    return f"; its only version is {newest[0]}" if newest else "; it has no versions"


def _nearest_module(hub: Hub, repo_id: str) -> str:
    namespace, _, name = repo_id.partition("/")
    with asking(hub.remote, "the search"):
        near = [model.id for model in hub.api.list_models(author=namespace, limit=_ASKED_FOR_NAMES)]
        if not near:
            near = [model.id for model in hub.api.list_models(search=name, limit=_ASKED_FOR_NAMES)]
    return did_you_mean(repo_id, near)
