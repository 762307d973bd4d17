"""The form by which maintainers ask for an evaluation of a module."""

from fastapi import Response
from fastapi.responses import RedirectResponse

from petapter_registry_server.api.dependencies import AllServices
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.web.formats import segment
from petapter_registry_server.web.pages.login import SEE_OTHER
from petapter_registry_server.web.routing import page_router
from petapter_registry_server.web.visitors import CurrentVisitor, Fields, SentFields, read_form

router = page_router()


class EvaluationForm(Fields):
    """What to measure on what."""

    evaluation_set: str
    revision: str


@router.post("/{namespace}/{name}/evaluations")
def request_evaluation(
    namespace: Segment, name: Segment, fields: SentFields, visitor: CurrentVisitor, services: AllServices
) -> Response:
    """Let a worker measure a revision of a module."""
    form = read_form(fields, EvaluationForm)
    job = services.evaluations.request(
        visitor.caller, f"{namespace}/{name}", form.evaluation_set.strip(), form.revision
    )
    back = f"/{segment(namespace)}/{segment(name)}?revision={segment(form.revision)}#job-{job.id}"
    return RedirectResponse(back, status_code=SEE_OTHER)
