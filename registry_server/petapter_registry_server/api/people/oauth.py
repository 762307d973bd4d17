"""OAuth's token endpoint: a token for an assertion (RFC 8693), or for a login that was approved (RFC 8628)."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from petapter_registry_server.api.dependencies import AllServices, json_object, small_body
from petapter_registry_server.errors import OAuthError
from petapter_registry_server.services.trusted_publishing import ShortToken
from petapter_registry_server.services.wired import Services

router = APIRouter()

_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ASSERTIONS = {"urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt"}
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 (a name)


@router.post("/oauth/token")
def give_token(request: Request, body: Annotated[bytes, Depends(small_body)], services: AllServices) -> JSONResponse:
    """A token for an assertion of a trusted publisher, or for a login that was approved."""
    fields = _fields(request, body)
    if fields.get("grant_type") == _DEVICE:
        issued = services.devices.collect(fields.get("device_code", ""))
    elif fields.get("grant_type") == _EXCHANGE:
        issued = _exchanged(fields, services)
    else:
        raise OAuthError("unsupported_grant_type", f"this registry knows the grant types {_EXCHANGE} and {_DEVICE}")
    answer = {
        "access_token": issued.secret,
        "issued_token_type": _ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": issued.life_s,
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _exchanged(fields: dict[str, str], services: Services) -> ShortToken:
    if fields.get("subject_token_type") not in _ASSERTIONS or not fields.get("subject_token"):
        raise OAuthError("invalid_request", "send subject_token, and as subject_token_type that of an id_token")
    return services.publishers.exchange(fields["subject_token"], fields.get("resource") or None)


def _fields(request: Request, body: bytes) -> dict[str, str]:
    """The RFC says a form; huggingface_hub sends JSON."""
    sent: dict[str, Any]
    if request.headers.get("content-type", "").startswith("application/json"):
        sent = json_object(body)
    else:
        sent = dict(parse_qsl(body.decode("utf-8", "replace")))
    return {name: value for name, value in sent.items() if isinstance(value, str)}
