"""The visitor's organisations, and the members of one."""

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.services.roles import ROLES, Role
from petapter_registry_server.web.formats import segment
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, read_form

router = page_router()


class NewOrganisationForm(Fields):
    """An organisation to found."""

    name: str


class MemberForm(Fields):
    """Somebody, and a role to give."""

    user: str
    role: Role = "read"


class LeaverForm(Fields):
    """Somebody to take out."""

    user: str


@router.get("/web/organisations")
def organisations_page(request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """The visitor's organisations."""
    return page(request, "organisations.html", lines=services.organisations.list_for(visitor.caller))


@router.post("/web/organisations")
def found_organisation(fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Found an organisation with the visitor as its first admin."""
    name = read_form(fields, NewOrganisationForm).name
    services.organisations.create(visitor.caller, name, admin=visitor.caller.name)
    return _to_members(name)


@router.get("/web/organisations/{organisation}")
def members_page(organisation: Segment, request: Request, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Who belongs to an organisation."""
    lines = services.organisations.members(visitor.caller, organisation)
    may_change = services.organisations.may_change_members(visitor.whole, organisation)
    return page(request, "members.html", name=organisation, lines=lines, roles=ROLES, may_change=may_change)


@router.post("/web/organisations/{organisation}/members")
def set_member(organisation: Segment, fields: SentFields, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Give somebody a role."""
    form = read_form(fields, MemberForm)
    services.organisations.set_member(visitor.caller, organisation, form.user, form.role)
    return _to_members(organisation)


@router.post("/web/organisations/{organisation}/members/remove")
def remove_member(
    organisation: Segment, fields: SentFields, visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Take somebody out."""
    services.organisations.remove_member(visitor.caller, organisation, read_form(fields, LeaverForm).user)
    return _to_members(organisation)


def _to_members(name: str) -> Response:
    return RedirectResponse(f"/web/organisations/{segment(name)}", status_code=SEE_OTHER)
