"""Versions and channels of a module on a registry: what stands there, yanks, and where channels point."""

import logging
from dataclasses import dataclass
from urllib.parse import quote

from petapter_hub_client.hub import Hub, open_hub, require_token
from petapter_hub_client.native import NoNativeApiError, OtherNativeApiError, ask, tell
from petapter_hub_client.versions import read_version, version_tag
from petapter_schemas.errors import InvalidReferenceError, RemoteNotFoundError
from petapter_schemas.references import HUB_REMOTE, Reference
from petapter_schemas.registry_api import ChannelList, ModuleDetail

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Maintained:
    """A module on a remote, and the version in question."""

    hub: Hub
    repo_id: str
    version: str

    @property
    def path(self) -> str:
        """The module's native route."""
        return _path(self.repo_id)


def yank(reference: str, reason: str) -> ModuleDetail:
    """Withdraw a version: search and `latest` pass it over, whoever names it is told the reason.

    Args:
        reference: `[remote:]namespace/name@v1.2.0`.
        reason: One line.

    Raises:
        InvalidReferenceError: It names no version.
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    target = _maintained(reference)
    path = f"{target.path}/versions/{quote(target.version, safe='')}/yank"
    return tell(target.hub, "PUT", path, ModuleDetail, body={"reason": reason})


def unyank(reference: str) -> ModuleDetail:
    """Show a yanked version again. Raises: as `yank`."""
    target = _maintained(reference)
    path = f"{target.path}/versions/{quote(target.version, safe='')}/yank"
    return tell(target.hub, "DELETE", path, ModuleDetail)


def set_channel(reference: str, channel: str) -> ChannelList:
    """Let a channel point to the version that a reference names. Raises: as `yank`."""
    target = _maintained(reference)
    path = f"{target.path}/channels/{quote(channel, safe='')}"
    return tell(target.hub, "PUT", path, ChannelList, body={"version": target.version})


def remove_channel(reference: str, channel: str) -> ChannelList:
    """End a channel; its history stays. Raises: as `yank`."""
    hub, repo_id = _module(reference)
    require_token(hub)
    return tell(hub, "DELETE", f"{_path(repo_id)}/channels/{quote(channel, safe='')}", ChannelList)


def list_channels(reference: str) -> ChannelList:
    """The channels of a module and every step of each.

    Raises:
        RemoteError: The remote said no, or nothing, or is no registry.
    """
    hub, repo_id = _module(reference)
    return ask(hub, f"{_path(repo_id)}/channels", ChannelList)


def find_detail(hub: Hub, repo_id: str) -> ModuleDetail | None:
    """All versions and channels; None where the remote is no registry, or has no such module.

    Raises:
        RemoteError: The remote said no, or nothing.
    """
    if hub.remote.name == HUB_REMOTE:
        return None
    try:
        return ask(hub, _path(repo_id), ModuleDetail)
    except OtherNativeApiError as error:
        _LOG.warning("%s; until then yanks and channels of %s are not seen", error, repo_id)
        return None
    except (NoNativeApiError, RemoteNotFoundError):  # the Hub's routes say more about what is missing
        return None


def shown_revision(detail: ModuleDetail) -> str | None:
    """What a reference without a revision means; None where the registry shows nothing and has no version.

    Raises:
        RemoteNotFoundError: Every version is yanked.
    """
    if detail.shown is not None:
        return detail.shown.revision
    if detail.versions:
        newest = detail.versions[0]
        reason = newest.yanked.reason if newest.yanked else ""
        raise RemoteNotFoundError(
            f"every version of {detail.id} is yanked (the newest: {reason}): name one to have it all the same, "
            f"for example {detail.id}@{newest.tag}"
        )
    return None


def yank_of(detail: ModuleDetail, commit: str) -> str | None:
    """Why a commit should not be used any more; None when nothing is said against it."""
    for version in detail.versions:
        if version.commit == commit and version.yanked is not None:
            return f"{detail.id}@{version.tag} was yanked by its maintainers: {version.yanked.reason}"
    return None


def _maintained(reference: str) -> Maintained:
    parsed = Reference.parse(reference)
    version = read_version(parsed.revision or "")
    if version is None:
        example = Reference(parsed.remote, parsed.repo_id, version_tag("1.2.0"))
        raise InvalidReferenceError(f"{reference!r} names no version: write for example {example}")
    hub = open_hub(parsed.remote)
    require_token(hub)
    return Maintained(hub, parsed.repo_id, str(version))


def _module(reference: str) -> tuple[Hub, str]:
    parsed = Reference.parse(reference)
    if parsed.revision is not None:
        raise InvalidReferenceError(f"{reference!r}: channels belong to the module, leave out @{parsed.revision}")
    return open_hub(parsed.remote), parsed.repo_id


def _path(repo_id: str) -> str:
    return f"/modules/{repo_id}"
