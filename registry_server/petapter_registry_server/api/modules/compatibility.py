"""Which modules run on a backbone, before any weight is fetched."""

from typing import Annotated

from fastapi import APIRouter, Depends

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller, json_body
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.services.access import Caller
from petapter_registry_server.services.revisions import At
from petapter_registry_server.services.wired import Services
from petapter_schemas.references import Reference
from petapter_schemas.registry_api import API, CompatibilityAnswer, CompatibilityQuestion

router = APIRouter(prefix=API, tags=["modules"], responses=PROBLEMS)


@router.post("/compatibility")
def check_compatibility(
    question: Annotated[CompatibilityQuestion, Depends(json_body(CompatibilityQuestion))],
    caller: CurrentCaller,
    services: AllServices,
) -> CompatibilityAnswer:
    """One verdict for each module: `ok`, `warn` or `refuse`, with what was expected and found."""
    modules = (_at(text, caller, services) for text in question.modules)
    return CompatibilityAnswer(
        modules=tuple(services.modules.compatibility(caller, at, question.backbone) for at in modules)
    )


def _at(text: str, caller: Caller, services: Services) -> At:
    reference = Reference.parse(text)
    revision = reference.revision or services.modules.default_revision(caller, reference.repo_id)
    return At(reference.repo_id, revision)
