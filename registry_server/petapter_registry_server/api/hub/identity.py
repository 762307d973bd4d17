"""Who am I, and the small questions that clients ask before they begin."""

from typing import Any

from fastapi import APIRouter, Response

from petapter_registry_server.api.dependencies import AllServices, CurrentCaller
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.clock import hub_date
from petapter_registry_server.errors import LoginRequiredError
from petapter_registry_server.services.callers import Caller
from petapter_registry_server.services.roles import FINE_GRAINED, ROLES

router = APIRouter()

_PERMISSIONS = ["repo.content.read", "repo.write", "repo.maintain", "repo.admin"]


@router.get("/api/whoami-v2")
def whoami(caller: CurrentCaller, services: AllServices) -> dict[str, Any]:
    """The user behind the token, the user's teams, and what the token may do."""
    if caller.user_id is None:
        raise LoginRequiredError("no token was sent: log in with 'hf auth login' or 'petapter login'")
    teams = services.accounts.teams_of(caller.user_id)
    return {
        "type": "user",
        "id": str(caller.user_id),
        "name": caller.name,
        "fullname": caller.name,
        "isPro": False,
        "orgs": [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name, role in teams],
        "auth": {"type": "access_token", "accessToken": _token_shape(caller)},
    }


def _token_shape(caller: Caller) -> dict[str, Any]:
    """The token as the Hub shows it; the Hub has no admins, and its scopes are lists of permissions."""
    shape: dict[str, Any] = {
        "displayName": caller.token_name or f"token-{caller.token_id}",
        "role": "write" if caller.role == "admin" else caller.role,
        "createdAt": hub_date(caller.token_created_ms),
    }
    if caller.role == FINE_GRAINED:
        permissions = _PERMISSIONS[: ROLES.index(caller.cap) + 1]
        scoped = [{"entity": _entity(caller.pattern), "permissions": permissions}] if caller.pattern else []
        everywhere = [] if caller.pattern else permissions
        shape["fineGrained"] = {"canReadGatedRepos": False, "global": everywhere, "scoped": scoped}
    return shape


def _entity(pattern: str) -> dict[str, str]:
    namespace, _, name = pattern.partition("/")
    return {"type": "org", "name": namespace} if name == "*" else {"type": "model", "name": pattern}


@router.get("/api/models/{namespace}/{name}/auth-check")
def check_read(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Whether the caller may read a repository."""
    services.reading.check_downloadable(caller, f"{namespace}/{name}")
    return {"success": True}


@router.get("/api/models/{namespace}/{name}/auth-check/write")
def check_write(namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices) -> dict[str, bool]:
    """Whether the caller may change a repository."""
    services.reading.check_writable(caller, f"{namespace}/{name}")
    return {"success": True}


@router.get("/api/agent-harnesses")
def agent_harnesses() -> dict[str, Any]:
    """Programs that clients would name in their User-Agent: none. Clients ask once a day when they are answered."""
    return {"standardEnvVars": [], "harnesses": {}}


@router.head("/api/telemetry/{topic:path}")
def telemetry(topic: Segment) -> Response:
    """Usage reports of client libraries, which are not recorded."""
    del topic
    return Response()
