"""The programs that may act as the caller."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.people.shapes import PublisherShape
from petapter_registry_server.api.problems import PROBLEMS
from petapter_registry_server.clock import hub_date
from petapter_registry_server.services.roles import Role
from petapter_registry_server.services.trusted_publishing import NewPublisher

router = APIRouter(prefix="/api/petapter/v1/publishers", tags=["publishers"], responses=PROBLEMS)

_MAX_ID = 1 << 31
_MAX_LENGTH = 500


class PublisherWish(Body):
    """A program to trust."""

    pattern: str
    scope: Role = "write"
    issuer: str = Field(max_length=_MAX_LENGTH)
    audience: str = Field(min_length=1, max_length=_MAX_LENGTH)
    claims: dict[str, str] = Field(min_length=1, max_length=20)


@router.get("")
def list_publishers(caller: CurrentCaller, services: AllServices) -> list[PublisherShape]:
    """The programs that may act as the caller."""
    return [
        PublisherShape(
            id=line.id,
            pattern=line.new.pattern,
            scope=line.new.scope,
            issuer=line.new.issuer,
            audience=line.new.audience,
            claims=line.new.claims,
            created_at=hub_date(line.created_ms),
        )
        for line in services.publishers.list_own(caller)
    ]


@router.post("")
def create_publisher(
    wish: Annotated[PublisherWish, Depends(json_body(PublisherWish))], caller: CurrentCaller, services: AllServices
) -> dict[str, int]:
    """Trust a program."""
    new = NewPublisher(wish.pattern, wish.scope, wish.issuer, wish.audience, wish.claims)
    return {"id": services.publishers.register(caller, new)}


@router.delete("/{publisher}")
def remove_publisher(
    publisher: Annotated[int, Path(ge=1, le=_MAX_ID)], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Trust a program no more."""
    services.publishers.remove(caller, publisher)
    return {"success": True}
