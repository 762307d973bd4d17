"""The caller's own tokens."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.people.shapes import NewTokenShape, TokenShape
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.services.accounts import TokenLine
from petapter_registry_server.services.roles import Role
from petapter_registry_server.services.tokens import NewToken

router = APIRouter(prefix="/api/petapter/v1/tokens", tags=["tokens"], responses=PROBLEMS)

_MAX_ID = 1 << 31


class TokenWish(Body):
    """A token to make: at most what the caller's own token lets through."""

    name: str
    scope: Role = "read"
    pattern: str | None = None
    days: int = Field(default=90, ge=1, le=366)


@router.get("")
def list_tokens(caller: CurrentCaller, services: AllServices) -> list[TokenShape]:
    """The caller's tokens, without their secrets."""
    return [_shape(line) for line in services.tokens.list_own(caller)]


@router.post("")
def create_token(
    wish: Annotated[TokenWish, Depends(json_body(TokenWish))], caller: CurrentCaller, services: AllServices
) -> NewTokenShape:
    """Make a token; its secret is in this answer and nowhere else."""
    new = NewToken(wish.name, wish.scope, wish.pattern, wish.days)
    issued = services.tokens.create(caller, new)
    return NewTokenShape(id=issued.id, token=issued.secret)


@router.delete("/{token}")
def revoke_token(
    token: Annotated[int, Path(ge=1, le=_MAX_ID)], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Make one of the caller's tokens worthless."""
    services.tokens.revoke(caller, token)
    return {"success": True}


def _shape(line: TokenLine) -> TokenShape:
    return TokenShape(
        id=line.id,
        name=line.name,
        role=line.role,
        scope=line.scope,
        pattern=line.pattern,
        created_at=line.created,
        expires_at=line.expires,
        last_used_at=line.last_used,
        revoked_at=line.revoked,
    )
