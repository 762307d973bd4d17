"""Roles of users on single modules."""

from typing import Annotated

from fastapi import APIRouter, Depends

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_body
from petapter_registry_server.api.people.organisations import NewRole
from petapter_registry_server.api.people.shapes import MemberShape
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment

router = APIRouter(prefix="/api/petapter/v1/modules/{namespace}/{name}/grants", tags=["grants"], responses=PROBLEMS)


@router.get("")
def list_grants(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> list[MemberShape]:
    """Who has a role on a module itself."""
    grants = services.organisations.grants(caller, f"{namespace}/{name}")
    return [MemberShape(user=line.user, role=line.role, disabled=line.is_disabled) for line in grants]


@router.put("/{user}")
def set_grant(
    namespace: Segment,
    name: Segment,
    user: Segment,
    new: Annotated[NewRole, Depends(json_body(NewRole))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, str]:
    """Give a user a role on a module."""
    services.organisations.grant(caller, f"{namespace}/{name}", user, new.role)
    return {"user": user, "role": new.role}


@router.delete("/{user}")
def remove_grant(
    namespace: Segment, name: Segment, user: Segment, caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Take a user's role on a module away."""
    services.organisations.revoke_grant(caller, f"{namespace}/{name}", user)
    return {"success": True}
