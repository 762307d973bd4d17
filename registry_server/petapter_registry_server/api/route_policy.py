"""What every route does to what: the one table that the guard of the routes enforces.

A route that is not here does not start the server. The caller that a route gets is held to the action that stands here:
whatever its code calls, a route that reads cannot write.
"""

import re
from collections.abc import Iterable, Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.routing import Route

from petapter_registry_server.api.raw_path import unescape
from petapter_registry_server.services.access import Need
from petapter_registry_server.services.upstream import Kind

_READ = Need("repository", "read")
_WRITE = Need("repository", "write")
_MAINTAIN = Need("repository", "maintain")
_ADMIN = Need("repository", "admin")
_PUBLIC = Need("public", "read")
_SIGNED = Need("signed", "write")
_MODEL = "/api/models/{namespace}/{name}"
_XET = "/api/xet"
_NATIVE = "/api/petapter/v1"
_MODULE = f"{_NATIVE}/modules/{{namespace}}/{{name}}"
_EVALSET = f"{_NATIVE}/evalsets/{{namespace}}/{{name}}"
_PAGE = "/{namespace}/{name}"
_ORGANISATION_PAGE = "/web/organisations/{organisation}"
_ORGANISATION = f"{_NATIVE}/organisations/{{organisation}}"

POLICY: Mapping[str, Need] = {
    "GET /health": _PUBLIC,
    "GET /readyz": _PUBLIC,
    "GET /metrics": _PUBLIC,
    "GET /api/agent-harnesses": _PUBLIC,
    "HEAD /api/telemetry/{topic:path}": _PUBLIC,
    "POST /api/validate-yaml": _PUBLIC,
    "GET /api/whoami-v2": Need("account", "read"),
    "GET /api/models": Need("registry", "read"),
    "GET /api/models/{name}": Need("registry", "read"),
    "POST /api/repos/create": _WRITE,
    "DELETE /api/repos/delete": _ADMIN,
    f"GET {_MODEL}": _READ,
    f"GET {_MODEL}/revision/{{revision}}": _READ,
    f"GET {_MODEL}/auth-check": _READ,
    f"GET {_MODEL}/auth-check/write": _WRITE,
    f"GET {_MODEL}/tree/{{revision}}": _READ,
    f"GET {_MODEL}/tree/{{revision}}/{{folder:path}}": _READ,
    f"POST {_MODEL}/paths-info/{{revision}}": _READ,
    f"GET {_MODEL}/commits/{{revision}}": _READ,
    f"GET {_MODEL}/refs": _READ,
    "HEAD /{namespace}/{name}/resolve/{revision}/{path:path}": _READ,
    "GET /{namespace}/{name}/resolve/{revision}/{path:path}": _READ,
    f"POST {_MODEL}/preupload/{{revision}}": _WRITE,
    f"POST {_MODEL}/commit/{{revision}}": _WRITE,
    f"POST {_MODEL}/branch/{{revision}}": _WRITE,
    f"DELETE {_MODEL}/branch/{{revision}}": _WRITE,
    f"POST {_MODEL}/tag/{{revision}}": _WRITE,
    f"DELETE {_MODEL}/tag/{{revision}}": _MAINTAIN,
    f"PUT {_MODEL}/settings": _ADMIN,
    "POST /api/repos/move": _ADMIN,
    "GET /api/settings/repositories": Need("account", "read"),
    "GET /api/organizations/{namespace}/settings/repositories": Need("account", "read"),
    f"POST {_MODEL}/super-squash/{{revision}}": _MAINTAIN,
    f"POST {_MODEL}/ask-access": Need("account", "write"),
    "POST /{namespace}/{name}/ask-access": Need("account", "write"),
    f"GET {_MODEL}/user-access-request/{{status}}": _ADMIN,
    f"POST {_MODEL}/user-access-request/handle": _ADMIN,
    f"POST {_MODEL}/user-access-request/grant": _ADMIN,
    "POST /{namespace}/{name}/info/lfs/objects/batch": _WRITE,
    "POST /{namespace}/{name}/info/lfs/verify": _WRITE,
    "PUT /api/uploads/{signed}": _SIGNED,
    "POST /api/uploads/{signed}": _SIGNED,
    f"GET {_MODEL}/xet-write-token/{{revision}}": _WRITE,
    f"POST {_XET}/v1/xorbs/default/{{xorb_hash}}": _SIGNED,
    f"POST {_XET}/v1/shards": _SIGNED,
    f"GET {_XET}/{{rest:path}}": _PUBLIC,
    f"POST {_XET}/{{rest:path}}": _PUBLIC,
    "POST /v1/telemetry": _PUBLIC,
    f"GET {_NATIVE}/modules": Need("registry", "read"),
    f"GET {_NATIVE}/openapi.json": _PUBLIC,
    f"GET {_NATIVE}/feeds/{{namespace}}": Need("registry", "read"),
    f"GET {_NATIVE}/feeds/{{namespace}}/{{name}}": _READ,
    f"POST {_NATIVE}/compatibility": Need("registry", "read"),
    f"GET {_MODULE}": _READ,
    f"GET {_MODULE}/channels": _READ,
    f"GET {_MODULE}/diff": _READ,
    f"GET {_MODULE}/lineage": _READ,
    f"PUT {_MODULE}/versions/{{version}}/yank": _MAINTAIN,
    f"DELETE {_MODULE}/versions/{{version}}/yank": _MAINTAIN,
    f"PUT {_MODULE}/channels/{{channel}}": _MAINTAIN,
    f"DELETE {_MODULE}/channels/{{channel}}": _MAINTAIN,
    f"POST {_MODULE}/evaluation-jobs": _MAINTAIN,
    f"GET {_MODULE}/evaluation-jobs": _READ,
    f"GET {_MODULE}/evaluation-jobs/{{job}}": _READ,
    f"GET {_MODULE}/evaluations": _READ,
    f"POST {_MODULE}/evaluations": Need("account", "write"),
    f"GET {_NATIVE}/worker-keys": _PUBLIC,
    f"GET {_MODULE}/grants": _ADMIN,
    f"PUT {_MODULE}/grants/{{user}}": _ADMIN,
    f"DELETE {_MODULE}/grants/{{user}}": _ADMIN,
    f"GET {_NATIVE}/evalsets": Need("registry", "read"),
    f"POST {_NATIVE}/evalsets/{{namespace}}": Need("evalset", "write"),
    f"GET {_EVALSET}": Need("evalset", "read"),
    f"GET {_EVALSET}/leaderboard": Need("evalset", "read"),
    f"GET {_EVALSET}/versions/{{version}}": Need("evalset", "read"),
    f"GET {_EVALSET}/versions/{{version}}/rows": Need("evalset", "read"),
    f"DELETE {_EVALSET}/versions/{{version}}/rows": Need("evalset", "admin"),
    f"PUT {_EVALSET}/settings": Need("evalset", "admin"),
    f"GET {_NATIVE}/organisations": Need("account", "read"),
    f"POST {_NATIVE}/organisations": Need("account", "admin"),
    f"GET {_ORGANISATION}/members": Need("organisation", "read"),
    f"PUT {_ORGANISATION}/members/{{user}}": Need("organisation", "admin"),
    f"DELETE {_ORGANISATION}/members/{{user}}": Need("organisation", "admin"),
    f"DELETE {_ORGANISATION}/membership": Need("account", "admin"),
    f"GET {_NATIVE}/tokens": Need("account", "read"),
    f"POST {_NATIVE}/tokens": Need("account", "admin"),
    f"DELETE {_NATIVE}/tokens/{{token}}": Need("account", "admin"),
    f"GET {_NATIVE}/publishers": Need("account", "read"),
    f"POST {_NATIVE}/publishers": Need("account", "admin"),
    f"DELETE {_NATIVE}/publishers/{{publisher}}": Need("account", "admin"),
    "POST /oauth/token": Need("public", "write"),
    "POST /oauth/device": Need("public", "write"),
    "GET /oauth/device": _PUBLIC,
    f"POST {_NATIVE}/devices/{{code}}/approve": Need("account", "admin"),
    f"POST {_NATIVE}/devices/{{code}}/deny": Need("account", "admin"),
    f"GET {_NATIVE}/webhooks": Need("account", "admin"),
    f"POST {_NATIVE}/webhooks": Need("account", "admin"),
    f"DELETE {_NATIVE}/webhooks/{{webhook}}": Need("account", "admin"),
    f"POST {_NATIVE}/webhooks/{{webhook}}/ping": Need("account", "admin"),
    f"POST {_NATIVE}/webhooks/{{webhook}}/secret": Need("account", "admin"),
    f"GET {_NATIVE}/webhooks/{{webhook}}/deliveries": Need("account", "admin"),
    f"GET {_NATIVE}/audit": Need("site", "read"),
    "GET /static/{file}": _PUBLIC,
    "GET /": Need("registry", "read"),
    "GET /web/login": _PUBLIC,
    "POST /web/login": Need("public", "write"),
    "POST /web/logout": Need("public", "write"),
    "GET /web/oidc/login": _PUBLIC,
    "GET /web/oidc/callback": Need("public", "write"),
    "GET /web/oidc/link": Need("account", "admin"),
    "GET /web/identities": Need("account", "read"),
    "POST /web/identities": Need("account", "admin"),
    "POST /web/identities/{identity}/remove": Need("account", "admin"),
    "GET /web/devices": Need("account", "read"),
    "POST /web/devices": Need("account", "admin"),
    "GET /web/tokens": Need("account", "read"),
    "POST /web/tokens": Need("account", "admin"),
    "POST /web/tokens/{token}/revoke": Need("account", "admin"),
    "GET /web/organisations": Need("account", "read"),
    "POST /web/organisations": Need("account", "admin"),
    f"GET {_ORGANISATION_PAGE}": Need("organisation", "read"),
    f"POST {_ORGANISATION_PAGE}/members": Need("organisation", "admin"),
    f"POST {_ORGANISATION_PAGE}/members/remove": Need("organisation", "admin"),
    "GET /web/webhooks": Need("account", "admin"),
    "POST /web/webhooks": Need("account", "admin"),
    "GET /web/webhooks/{webhook}": Need("account", "admin"),
    "POST /web/webhooks/{webhook}/ping": Need("account", "admin"),
    "POST /web/webhooks/{webhook}/secret": Need("account", "admin"),
    "POST /web/webhooks/{webhook}/remove": Need("account", "admin"),
    "GET /web/audit": Need("site", "read"),
    "GET /web/operations": Need("site", "read"),
    "GET /evalsets": Need("registry", "read"),
    "GET /evalsets/{namespace}/{name}": Need("evalset", "read"),
    "GET /{namespace}": Need("registry", "read"),
    f"GET {_PAGE}": _READ,
    f"GET {_PAGE}/compare": _READ,
    f"GET {_PAGE}/access": _ADMIN,
    f"POST {_PAGE}/access/ask": Need("account", "write"),
    f"POST {_PAGE}/access/decide": _ADMIN,
    f"POST {_PAGE}/evaluations": _MAINTAIN,
    f"POST {_PAGE}/versions/{{version}}/yank": _MAINTAIN,
    f"POST {_PAGE}/versions/{{version}}/unyank": _MAINTAIN,
}
"""By method and path. A repository, organisation or evaluation set is the one in the path, else the body names it."""

_FILE = "/{namespace}/{name}/resolve/{revision}/{path:path}"
MIRRORED: Mapping[str, Kind] = {
    f"HEAD {_FILE}": "file",
    f"GET {_FILE}": "file",
    f"GET {_MODEL}": "json",
    f"GET {_MODEL}/revision/{{revision}}": "json",
    f"GET {_MODEL}/tree/{{revision}}": "json",
    f"GET {_MODEL}/tree/{{revision}}/{{folder:path}}": "json",
    f"POST {_MODEL}/paths-info/{{revision}}": "json",
}
"""The routes that the read-through proxy asks its upstream for, and what they answer with."""

QUESTIONS = frozenset(
    {
        "POST /api/validate-yaml",
        f"POST {_MODEL}/paths-info/{{revision}}",
        f"POST {_NATIVE}/compatibility",
        f"POST {_XET}/{{rest:path}}",
        "POST /v1/telemetry",
    }
)
"""The only routes with an unsafe method that change nothing."""

NOT_OFFERED = re.compile(
    r"/api/models/\{namespace\}/\{name\}/\{part\}(/\{rest:path\})?|(/api)?/(datasets|spaces)/\{rest:path\}"
    r"|/\{rest\}/resolve/\{revision\}/\{path:path\}"
)
"""The routes of not_offered.py: they refuse everybody alike, by every method."""

_SAFE = frozenset({"GET", "HEAD"})


def check_declared(routers: Iterable[APIRouter]) -> None:
    """Refuse routes that do not say what they do, and those that would change something with the right to read.

    Raises:
        LookupError: There is one.
    """
    for router in routers:
        for route in router.routes:
            if isinstance(route, Route):
                for method in route.methods or ():
                    _check(method, route.path)


def need_of(request: Request) -> Need:
    """What the route of a request needs, with the name that stands in its path.

    Raises:
        LookupError: The route is not declared.
    """
    declared = _declared(request.method, request.scope["route"].path)
    parts = request.path_params
    if declared.resource == "repository" and {"namespace", "name"} <= parts.keys():
        name = unescape(parts["name"])
        name = name.removesuffix(".git") if "/info/lfs/" in request.scope["route"].path else name
        return Need("repository", declared.action, f"{unescape(parts['namespace'])}/{name}")
    if declared.resource == "evalset" and {"namespace", "name"} <= parts.keys():
        return Need("evalset", declared.action, f"{unescape(parts['namespace'])}/{unescape(parts['name'])}")
    if declared.resource == "organisation":
        return Need("organisation", declared.action, unescape(parts["organisation"]))
    return declared


def is_mirrored(request: Request) -> bool:
    """Whether the read-through proxy knows the route of a request."""
    return f"{request.method} {request.scope['route'].path}" in MIRRORED


def _check(method: str, path: str) -> None:
    need = _declared(method, path)
    reads = need.action == "read" and not NOT_OFFERED.fullmatch(path)
    if reads and method not in _SAFE and f"{method} {path}" not in QUESTIONS:
        raise LookupError(f"{method} {path} may change something and declares 'read': declare what it needs")


def _declared(method: str, path: str) -> Need:
    if NOT_OFFERED.fullmatch(path):
        return _PUBLIC
    if (need := POLICY.get(f"{method} {path}")) is None:
        raise LookupError(f"{method} {path} declares no resource and action: add it to api/route_policy.py")
    return need
