"""Speaks a registry's native API over httpx, and alone knows what its problems mean to the user."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import TypedDict, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from petapter_hub_client.hub import Hub, refused_token
from petapter_schemas.errors import (
    AuthenticationError,
    PetapterError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
    VersionConflictError,
)
from petapter_schemas.references import HUB_REMOTE
from petapter_schemas.registry_api import API, API_HEADER, API_VERSION

_TIMEOUT_S = 30.0
_ERROR_CODE = "X-Error-Code"
_PROBLEM = "application/problem+json"
_SHOWN_CHARACTERS = 400

Answer = TypeVar("Answer", bound=BaseModel)
Parameters = Sequence[tuple[str, str | int | float | bool | None]]


"""Of the native API, as this client speaks it."""


class NoNativeApiError(RemoteError):
    """The remote is a hub that has no native API, or one that this client does not speak."""


class OtherNativeApiError(NoNativeApiError):
    """The remote is a registry whose native API this client does not speak; the Hub's protocol still works."""


def ask(hub: Hub, path: str, answer: type[Answer], *, parameters: Parameters = ()) -> Answer:
    """GET a native route.

    Raises:
        NoNativeApiError: The remote has none.
        RemoteError: It said no, or nothing.
    """
    return _read(hub, _send(hub, "GET", path, parameters=parameters), answer)


def tell(hub: Hub, method: str, path: str, answer: type[Answer], *, body: Mapping[str, object] | None = None) -> Answer:
    """PUT, POST or DELETE a native route. Raises: as `ask`."""
    return _read(hub, _send(hub, method, path, body=body), answer)


def send_bytes(hub: Hub, path: str, data: bytes, answer: type[Answer], *, parameters: Parameters = ()) -> Answer:
    """POST lines of JSON to a native route. Raises: as `ask`."""
    return _read(hub, _send(hub, "POST", path, parameters=parameters, data=data), answer)


def fetch_bytes(hub: Hub, path: str, *, most: int) -> bytes:
    """GET bytes from a native route, no more than `most`. Raises: as `ask`."""
    with _reaching(hub), httpx.stream("GET", _address(hub, path), **_options(hub)) as response:
        if not response.is_success:
            response.read()
            raise _refusal(hub, response)
        data = bytearray()
        for chunk in response.iter_bytes():
            data += chunk
            if len(data) > most:
                raise RemoteError(f"remote {hub.remote.name!r} sends more than the {most} bytes that are taken here")
    return bytes(data)


def _send(
    hub: Hub,
    method: str,
    path: str,
    *,
    parameters: Parameters = (),
    body: Mapping[str, object] | None = None,
    data: bytes | None = None,
) -> httpx.Response:
    with _reaching(hub):
        return httpx.request(
            method, _address(hub, path), params=list(parameters), json=body, content=data, **_options(hub)
        )


def _address(hub: Hub, path: str) -> str:
    if hub.remote.name == HUB_REMOTE:
        raise _no_native_api(hub)
    return f"{hub.remote.url}{API}{path}"


class _Options(TypedDict):
    headers: dict[str, str]
    timeout: float
    verify: ssl.SSLContext


def _options(hub: Hub) -> _Options:
    headers = {"authorization": f"Bearer {hub.token}"} if hub.token else {}
    return {"headers": headers, "timeout": _TIMEOUT_S, "verify": _trusted()}


@contextmanager
def _reaching(hub: Hub) -> Iterator[None]:
    """Tell errors of the network in our words."""
    try:
        yield
    except httpx.HTTPError as error:
        raise RemoteUnreachableError(
            f"remote {hub.remote.name!r} at {hub.remote.url} does not answer ({_line(error)}): check that it runs"
        ) from error


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that are believed, read once: that takes 20 ms, and httpx would do it for each request."""
    return httpx.create_ssl_context()


def _read(hub: Hub, response: httpx.Response, answer: type[Answer]) -> Answer:
    version = response.headers.get(API_HEADER)
    if version not in {None, API_VERSION}:
        raise _other_version(hub, f"speaks version {_line(version)} of the native API")
    if response.headers.get("content-type", "").startswith(_PROBLEM) and not _is_route_missing(response):
        raise _refusal(hub, response)
    if version is None or _is_route_missing(response):
        raise _no_native_api(hub)
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        raise _other_version(hub, "answers in another form") from error


def _is_route_missing(response: httpx.Response) -> bool:
    """Whether a registry does not know the question; where it knows it and has no answer, a header says which kind."""
    return response.status_code == HTTPStatus.NOT_FOUND and _ERROR_CODE not in response.headers


def _refusal(hub: Hub, response: httpx.Response) -> PetapterError:
    name, status = hub.remote.name, response.status_code
    try:
        reason = _line(response.json()["detail"])
    except (ValueError, TypeError, KeyError):
        reason = response.reason_phrase
    if status == HTTPStatus.UNAUTHORIZED:
        return refused_token(hub.remote, reason)
    if status == HTTPStatus.FORBIDDEN:
        return AuthenticationError(f"remote {name!r} does not allow that: {reason}")
    if status == HTTPStatus.NOT_FOUND:
        return RemoteNotFoundError(f"remote {name!r}: {reason}; check the name, or 'petapter login {name}'")
    if status == HTTPStatus.CONFLICT:
        return VersionConflictError(f"remote {name!r}: {reason}")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RemoteError(f"remote {name!r} refuses the request ({status}): {reason}")
    return RemoteError(f"remote {name!r} failed ({status}): {reason}; try again later")


def _no_native_api(hub: Hub) -> NoNativeApiError:
    return NoNativeApiError(
        f"remote {hub.remote.name!r} is no petapter registry, or an older one: it has no yanks, channels or such search"
    )


def _other_version(hub: Hub, how: str) -> OtherNativeApiError:
    return OtherNativeApiError(
        f"remote {hub.remote.name!r} {how}, "
        f"and this petapter speaks version {API_VERSION}: upgrade the older of the two"
    )


def _line(problem: object) -> str:
    text = " ".join(str(problem).split())
    return "".join(character for character in text if character.isprintable())[:_SHOWN_CHARACTERS]
