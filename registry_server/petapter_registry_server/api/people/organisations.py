"""Organisations and their members."""

from typing import Annotated

from fastapi import APIRouter, Depends

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.people.shapes import MemberShape, OrganisationShape
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.roles import Role

router = APIRouter(prefix="/api/petapter/v1/organisations", tags=["organisations"], responses=PROBLEMS)


class NewOrganisation(Body):
    """An organisation to make; the caller is its first admin."""

    name: str


class NewRole(Body):
    """A role to give."""

    role: Role


@router.get("")
def list_own(caller: CurrentCaller, services: AllServices) -> list[OrganisationShape]:
    """The caller's organisations with the role there."""
    return [OrganisationShape(name=name, role=role) for name, role in services.organisations.list_for(caller)]


@router.post("")
def create(
    new: Annotated[NewOrganisation, Depends(json_body(NewOrganisation))], caller: CurrentCaller, services: AllServices
) -> dict[str, str]:
    """Make an organisation."""
    return {"name": services.organisations.create(caller, new.name, admin=caller.name)}


@router.get("/{organisation}/members")
def list_members(organisation: Segment, caller: CurrentCaller, services: AllServices) -> list[MemberShape]:
    """Who belongs to an organisation, for those who do."""
    members = services.organisations.members(caller, organisation)
    return [MemberShape(user=line.user, role=line.role, disabled=line.is_disabled) for line in members]


@router.put("/{organisation}/members/{user}")
def set_member(
    organisation: Segment,
    user: Segment,
    new: Annotated[NewRole, Depends(json_body(NewRole))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, str]:
    """Give a user a role in an organisation."""
    services.organisations.set_member(caller, organisation, user, new.role)
    return {"user": user, "role": new.role}


@router.delete("/{organisation}/members/{user}")
def remove_member(
    organisation: Segment, user: Segment, caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Take a user out of an organisation, with every role on its modules."""
    services.organisations.remove_member(caller, organisation, user)
    return {"success": True}


@router.delete("/{organisation}/membership")
def leave(organisation: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Leave an organisation."""
    services.organisations.leave(caller, organisation)
    return {"success": True}
