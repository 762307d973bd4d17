"""Repositories: made, removed, hidden and shown."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.clock import hub_date
from petapter_registry_server.errors import InvalidRequestError, LoginRequiredError, NotOfferedError
from petapter_registry_server.services.access import Caller
from petapter_registry_server.services.gates import Mode
from petapter_registry_server.services.reading import Stored

router = APIRouter()


class RepositoryName(Body):
    """A repository as these routes name it; without `organization` it is in the caller's own namespace."""

    name: str
    organization: str | None = None
    type: str | None = None

    def repo_id(self, caller: Caller) -> str:
        """`namespace/name`.

        Raises:
            NotOfferedError: It is no model.
            LoginRequiredError: No namespace is given, and an anonymous caller has none.
        """
        if self.type not in {None, "model"}:
            raise NotOfferedError(f"this registry holds models only, no {self.type}s")
        if self.organization is None and caller.is_anonymous:
            raise LoginRequiredError("a token is needed: log in with 'hf auth login' or 'petapter login'")
        return f"{self.organization or caller.name}/{self.name}"


class Visibility(Body):
    """Public or private; clients up to 1.9 say `private`, later ones `visibility`."""

    visibility: Literal["public", "private"] | None = None
    private: bool | None = None

    @property
    def is_private(self) -> bool | None:
        """Whether to hide; None when nothing is said."""
        return self.private if self.visibility is None else self.visibility == "private"


class NewRepository(RepositoryName, Visibility):
    """A repository to make. Public unless it says otherwise."""


class NewSettings(Visibility):
    """Settings to change."""

    gated: Mode | Literal[False] | None = None


@router.post("/api/repos/create")
def create(
    request: Request,
    new: Annotated[NewRepository, Depends(json_body(NewRepository))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, str]:
    """Make a repository, and its namespace when nobody has it."""
    full_name = services.repositories.create(caller, new.repo_id(caller), private=bool(new.is_private))
    return {"url": f"{address_of(request)}/{full_name}", "name": full_name, "id": full_name}


@router.delete("/api/repos/delete")
def delete(
    name: Annotated[RepositoryName, Depends(json_body(RepositoryName))], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Remove a repository; its name stays taken for ever."""
    services.repositories.delete(caller, name.repo_id(caller))
    return {"success": True}


class Renaming(Body):
    """A repository's name, and the one that it is to have."""

    source: str = Field(alias="fromRepo")
    target: str = Field(alias="toRepo")
    type: Literal["model"] | None = None


@router.post("/api/repos/move")
def move(
    names: Annotated[Renaming, Depends(json_body(Renaming))], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Rename a repository; its old addresses lead on."""
    services.moving.move(caller, names.source, names.target)
    return {"success": True}


@router.get("/api/settings/repositories")
def own_repositories(caller: CurrentCaller, services: AllServices) -> list[dict[str, object]]:
    """What the caller's namespaces hold, and how much it takes."""
    if caller.is_anonymous:
        raise LoginRequiredError("a token is needed: log in with 'hf auth login' or 'petapter login'")
    return _stored(services.reading.own_repositories(caller, None))


@router.get("/api/organizations/{namespace}/settings/repositories")
def repositories_of(namespace: Segment, caller: CurrentCaller, services: AllServices) -> list[dict[str, object]]:
    """What one of the caller's namespaces holds."""
    return _stored(services.reading.own_repositories(caller, namespace))


@router.put("/api/models/{namespace}/{name}/settings")
def change_settings(
    namespace: Segment,
    name: Segment,
    new: Annotated[NewSettings, Depends(json_body(NewSettings))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, bool | str]:
    """Hide a repository or show it, gate it or open it."""
    repo_id = f"{namespace}/{name}"
    if new.is_private is None and new.gated is None:
        raise InvalidRequestError("nothing to change: send 'visibility' or 'gated'")
    if new.is_private is not None:
        services.repositories.set_private(caller, repo_id, private=new.is_private)
    if new.gated is not None:
        services.gates.set_mode(caller, repo_id, new.gated or None)
    return {key: value for key, value in (("private", new.is_private), ("gated", new.gated)) if value is not None}


def _stored(found: Sequence[Stored]) -> list[dict[str, object]]:
    total = sum(each.size for each in found) or 1
    return [
        {
            "id": each.repository.full_name,
            "type": "model",
            "updatedAt": hub_date(each.repository.updated_ms),
            "visibility": "private" if each.repository.private else "public",
            "storage": each.size,
            "storagePercent": 100 * each.size / total,
        }
        for each in found
    ]
