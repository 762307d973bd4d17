"""What maintainers do with versions: yank them, show them again, and let channels point to them."""

from typing import Annotated

from fastapi import APIRouter, Depends

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_body
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.versions import ChannelName, VersionName
from petapter_schemas.registry_api import API, ChannelList, ChannelTarget, ModuleDetail, YankRequest

router = APIRouter(prefix=API, tags=["maintaining"], responses=PROBLEMS)


def _version(namespace: Segment, name: Segment, version: Segment) -> VersionName:
    return VersionName(f"{namespace}/{name}", version)


def _channel(namespace: Segment, name: Segment, channel: Segment) -> ChannelName:
    return ChannelName(f"{namespace}/{name}", channel)


@router.put("/modules/{namespace}/{name}/versions/{version}/yank")
def yank_version(
    which: Annotated[VersionName, Depends(_version)],
    why: Annotated[YankRequest, Depends(json_body(YankRequest))],
    caller: CurrentCaller,
    services: AllServices,
) -> ModuleDetail:
    """Hide a version from search and from `latest`; whoever pulls it is told the reason."""
    services.versions.yank(caller, which, why.reason)
    return services.modules.detail(caller, which.repo_id)


@router.delete("/modules/{namespace}/{name}/versions/{version}/yank")
def unyank_version(
    which: Annotated[VersionName, Depends(_version)], caller: CurrentCaller, services: AllServices
) -> ModuleDetail:
    """Show a yanked version again."""
    services.versions.unyank(caller, which)
    return services.modules.detail(caller, which.repo_id)


@router.put("/modules/{namespace}/{name}/channels/{channel}")
def set_channel(
    which: Annotated[ChannelName, Depends(_channel)],
    target: Annotated[ChannelTarget, Depends(json_body(ChannelTarget))],
    caller: CurrentCaller,
    services: AllServices,
) -> ChannelList:
    """Let a channel point to a version; a new name makes a channel."""
    services.versions.set_channel(caller, which, target.version)
    return services.modules.channels(caller, which.repo_id)


@router.delete("/modules/{namespace}/{name}/channels/{channel}")
def end_channel(
    which: Annotated[ChannelName, Depends(_channel)], caller: CurrentCaller, services: AllServices
) -> ChannelList:
    """Remove a channel; its history stays."""
    services.versions.end_channel(caller, which)
    return services.modules.channels(caller, which.repo_id)
