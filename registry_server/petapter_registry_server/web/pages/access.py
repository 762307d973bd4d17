"""Who gets the files of a gated module: asking, and deciding about it; and who has a role on the module itself."""

from typing import Literal

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.clock import hub_date
from petapter_registry_server.services.gates import Decision
from petapter_registry_server.services.revisions import At
from petapter_registry_server.web.formats import segment
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.rendering import page
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, read_form

router = page_router()

_STATES: tuple[Literal["pending", "accepted", "rejected"], ...] = ("pending", "accepted", "rejected")


class DecisionForm(Fields):
    """Who asked, and what becomes of it."""

    user: str
    status: Literal["pending", "accepted", "rejected"]


@router.get("/{namespace}/{name}/access")
def access_page(
    namespace: Segment, name: Segment, request: Request, visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Requests for access, and roles on the module itself."""
    repo_id = f"{namespace}/{name}"
    model = services.reading.model(visitor.whole, At(repo_id, "main"))
    asked = {
        state: [
            (line.user, hub_date(line.created_ms)) for line in services.gates.requests(visitor.caller, repo_id, state)
        ]
        for state in _STATES
    }
    grants = services.organisations.grants(visitor.caller, repo_id)
    return page(request, "access.html", name=model.full_name, gate=model.gated, asked=asked, grants=grants)


@router.post("/{namespace}/{name}/access/ask")
def ask(namespace: Segment, name: Segment, visitor: CurrentVisitor, services: AllServices) -> Response:
    """Ask to get the files."""
    services.gates.ask(visitor.caller, f"{namespace}/{name}")
    return RedirectResponse(f"/{segment(namespace)}/{segment(name)}#use", status_code=SEE_OTHER)


@router.post("/{namespace}/{name}/access/decide")
def decide(
    namespace: Segment, name: Segment, fields: SentFields, visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Let somebody in who asked, or not."""
    form = read_form(fields, DecisionForm)
    services.gates.decide(visitor.caller, f"{namespace}/{name}", Decision(form.status, form.user))
    return RedirectResponse(f"/{segment(namespace)}/{segment(name)}/access", status_code=SEE_OTHER)
