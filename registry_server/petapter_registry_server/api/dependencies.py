"""What routes ask for: the services, the caller, and bodies of bounded length."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.at_once import at_once
from petapter_registry_server.api.route_policy import is_mirrored, need_of
from petapter_registry_server.db.answers import NotKeptError, State, kept_alone
from petapter_registry_server.errors import (
    ElsewhereError,
    InvalidRequestError,
    InvalidTokenError,
    RepositoryNotFoundError,
    TooLargeError,
)
from petapter_registry_server.services.access import Need
from petapter_registry_server.services.callers import ANONYMOUS, Caller
from petapter_registry_server.services.wired import Services
from petapter_schemas.messages import first_problem

_UNCOUNTED = frozenset({"/health", "/metrics", "/readyz"})
MAX_BODY_BYTES = 4 << 20
"""Limit of every body but a commit's. 256 announced files with samples of 512 bytes are a quarter of a megabyte."""

_BODY_OF = "body_of"

Value = TypeVar("Value", bound=BaseModel)


class Body(BaseModel):
    """A request body; clients may send fields that this registry does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


async def _services(request: Request) -> Services:
    """Asynchronous, as all dependencies that wait for nothing: FastAPI gives each other one a thread, for 0.1 ms."""
    return cast("Services", request.app.state.services)


AllServices = Annotated[Services, Depends(_services)]


async def admit(request: Request) -> None:
    """Let the caller of a route in, who may do what the route declares in route_policy.py; it runs before every route.

    It asks for nothing but the request: FastAPI resolves what a dependency depends on each time that one is named.

    Raises:
        PetapterError: As `Access.admit`.
    """
    services, need = request.app.state.services, need_of(request)
    if need.resource in {"public", "signed"}:
        if request.url.path not in _UNCOUNTED:
            services.rate_limits.count_address(client_address(request))
        request.state.caller = ANONYMOUS
        return
    state = await services.access.state()
    try:
        with kept_alone():
            caller = _counted(request, services, state)
    except NotKeptError:
        request.state.caller = await run_in_threadpool(
            lambda: _admitted(request, services, need, _counted(request, services, state))
        )
    else:
        request.state.caller = await at_once(lambda: _admitted(request, services, need, caller))


def _admitted(request: Request, services: Services, need: Need, caller: Caller) -> Caller:
    try:
        return services.access.admit(caller, need)
    except RepositoryNotFoundError:
        if services.upstream and is_mirrored(request) and services.access.may_be_elsewhere(caller, need.name or ""):
            raise ElsewhereError(need.name or "") from None
        raise


def _counted(request: Request, services: Services, state: State | None) -> Caller:
    """The caller, whose request is counted once that is known."""
    try:
        caller = services.access.authenticate(request.headers.get("authorization"), state)
    except InvalidTokenError:
        services.rate_limits.count_address(client_address(request))
        raise
    count_request(services, caller, request)
    return caller


def count_request(services: Services, caller: Caller, request: Request) -> None:
    """Count a request. Raises: TooManyRequestsError."""
    services.rate_limits.count(caller, client_address(request))


def client_address(request: Request) -> str:
    """Where a request comes from, as far as is known."""
    return request.client.host if request.client else ""


async def _caller(request: Request) -> Caller:
    return cast("Caller", request.state.caller)


CurrentCaller = Annotated[Caller, Depends(_caller)]
"""Whom `admit` let in."""


async def small_body(request: Request) -> bytes:
    """The body, read no further than the limit.

    Raises:
        TooLargeError: It is longer.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(f"the body is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def json_body(model: type[Value]) -> Callable[[Request], Awaitable[Value]]:
    """A dependency that reads a JSON body into `model`; an empty body is an empty object."""

    async def read(request: Request) -> Value:
        body = await small_body(request)
        try:
            return model.model_validate_json(body or b"{}")
        except ValidationError as error:
            raise InvalidRequestError(f"the body breaks the protocol: {first_problem(error)}") from error

    setattr(read, _BODY_OF, model)
    return read


def body_of(dependency: object) -> type[BaseModel] | None:
    """What a dependency made by `json_body` reads; None for all others."""
    model: type[BaseModel] | None = getattr(dependency, _BODY_OF, None)
    return model


def json_object(body: bytes) -> dict[str, object]:
    """A JSON body as an object.

    Raises:
        InvalidRequestError: It is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("the body is no JSON") from error
    if not isinstance(document, dict):
        raise InvalidRequestError("the body is no JSON object")
    return document
