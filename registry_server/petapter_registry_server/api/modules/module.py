"""One module: versions, channels, what differs between two revisions, and where it comes from."""

from typing import Annotated

from fastapi import APIRouter, Query

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.revisions import At
from petapter_schemas.registry_api import API, ChannelList, Lineage, ModuleDetail, ModuleDiff

router = APIRouter(prefix=API, tags=["modules"], responses=PROBLEMS)

Revision = Annotated[str, Query(max_length=200)]


@router.get("/modules/{namespace}/{name}")
def show_module(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> ModuleDetail:
    """All versions with their yanks and figures, the channels, and what search shows."""
    return services.modules.detail(caller, f"{namespace}/{name}")


@router.get("/modules/{namespace}/{name}/channels")
def list_channels(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> ChannelList:
    """The channels of a module and every step of each."""
    return services.modules.channels(caller, f"{namespace}/{name}")


@router.get("/modules/{namespace}/{name}/diff")
def compare_revisions(
    namespace: Segment,
    name: Segment,
    before: Annotated[str, Query(alias="from", max_length=200)],
    after: Annotated[str, Query(alias="to", max_length=200)],
    caller: CurrentCaller,
    services: AllServices,
) -> ModuleDiff:
    """What differs between two versions, channels, branches or commits."""
    repo_id = f"{namespace}/{name}"
    return services.modules.diff(caller, At(repo_id, before), At(repo_id, after))


@router.get("/modules/{namespace}/{name}/lineage")
def show_lineage(
    namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices, revision: Revision | None = None
) -> Lineage:
    """Where a revision comes from and what was made from it; by default the one that search shows."""
    repo_id = f"{namespace}/{name}"
    revision = revision or services.modules.default_revision(caller, repo_id)
    return services.modules.lineage(caller, At(repo_id, revision))
