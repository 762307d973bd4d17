"""The routes: what is asked over HTTP, as calls of the service."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from petapter.runtime import Answer
from petapter_hub_client.serving.access import may_administer, may_predict
from petapter_hub_client.serving.errors import TooLargeError
from petapter_hub_client.serving.messages import (
    LoadRequest,
    ModuleFacts,
    ModuleList,
    PredictInput,
    PredictRequest,
    PredictResponse,
    Status,
    facts_of,
)
from petapter_hub_client.serving.metrics import CONTENT_TYPE
from petapter_hub_client.serving.service import Service
from petapter_hub_client.stacks.opening import StackModule
from petapter_schemas.names import ModuleName
from petapter_schemas.references import Reference

router = APIRouter()

PREDICT = "/v1/predict"
Alias = Annotated[str, InPath(max_length=512)]

_CREATED = 201
_JSON = "application/json"


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


def _body_schema() -> dict[str, object]:
    """The schema of PredictRequest in one piece: OpenAPI looks for definitions elsewhere than pydantic puts them."""
    schema = PredictRequest.model_json_schema()
    schema["properties"]["inputs"]["items"] = schema.pop("$defs")[PredictInput.__name__]
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": schema}}}}


@router.post(PREDICT, response_model=PredictResponse, openapi_extra=_body_schema(), tags=["answers"])
async def predict(request: Request) -> Response:
    """Answer texts, in order. Texts of all callers and modules run together."""
    # What FastAPI would do of itself, token, body and answer, at a third of its time: this route is the busy one.
    await may_predict(request)
    asked = await _asked(request)
    service = service_of(request)
    if len(asked.inputs) > (most := service.options.inputs):
        raise TooLargeError(f"{len(asked.inputs)} inputs are more than the {most} of one request: send several")
    answers = await asyncio.wrap_future(service.submit([one.request for one in asked.inputs]))
    return Response(_encoded(answers), media_type=_JSON)


@router.get("/v1/modules", dependencies=[Depends(may_predict)], tags=["modules"])
def list_modules(request: Request) -> ModuleList:
    """All loaded modules, in order of loading."""
    found = service_of(request).modules()
    return ModuleList(
        modules=tuple(facts_of(alias, module, resident=resident) for alias, (module, resident) in found.items())
    )


@router.get("/v1/modules/{alias}", dependencies=[Depends(may_predict)], tags=["modules"])
def show_module(request: Request, alias: Alias) -> ModuleFacts:
    """One loaded module."""
    module, resident = service_of(request).module(alias)
    return facts_of(alias, module, resident=resident)


@router.put("/v1/modules/{alias}", dependencies=[Depends(may_administer)], tags=["modules"])
def load_module(
    request: Request, response: Response, alias: Annotated[ModuleName, InPath()], asked: LoadRequest
) -> ModuleFacts:
    """Pull a module and let it answer to the alias, in the place of another if there is one (200, else 201)."""
    Reference.parse(asked.module)
    module, took_place = service_of(request).load(alias, asked.module, asked.patterns)
    if not took_place:
        response.status_code = _CREATED
    return facts_of(alias, module, resident=True)


@router.delete("/v1/modules/{alias}", status_code=204, dependencies=[Depends(may_administer)], tags=["modules"])
def unload_module(request: Request, alias: Alias) -> None:
    """Forget a module; the others are not touched."""
    service_of(request).unload(alias)


@router.get("/healthz", tags=["process"])
async def healthz() -> Status:
    """The process lives."""
    return Status(status="ok")


@router.get("/readyz", tags=["process"])
async def readyz(request: Request) -> Status:
    """Requests are taken; 503 while the service starts or drains."""
    service_of(request).check_ready()
    return Status(status="ready")


@router.get("/metrics", response_class=Response, tags=["process"])
def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE)


async def _asked(request: Request) -> PredictRequest:
    """The body.

    Raises:
        RequestValidationError: It is something else.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise HTTPException(415, f"the body must be JSON: send 'Content-Type: {_JSON}'")
    try:
        return PredictRequest.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_context=False)) from None


def _encoded(answers: Sequence[Answer[StackModule]]) -> bytes:
    """The body of PredictResponse, without the models in between: what the engine says is right already."""
    said = [
        {
            "module": answer.prediction.alias,
            "digest": answer.about.digest,
            "label": answer.prediction.label,
            "labels": answer.prediction.labels,
            "probabilities": answer.prediction.probabilities,
            "lost_tokens": answer.prediction.lost_tokens,
        }
        for answer in answers
    ]
    return to_json({"answers": said})
