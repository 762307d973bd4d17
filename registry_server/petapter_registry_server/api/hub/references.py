"""Branches and tags."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.hub.revision import revision_of
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.db.repositories import BRANCH, MAIN, TAG
from petapter_registry_server.services.repositories import NewReference
from petapter_registry_server.services.revisions import At

router = APIRouter()


class NewBranch(Body):
    """Where a new branch begins."""

    start: str = Field(default=MAIN, alias="startingPoint")


class NewTag(Body):
    """A new tag. Its message is not kept."""

    tag: str


@router.get("/api/models/{namespace}/{name}/refs")
def list_references(
    namespace: Segment, name: Segment, caller: CurrentCaller, services: AllServices
) -> dict[str, list[dict[str, Any]]]:
    """All branches and tags; this registry has no converted branches and no pull requests."""
    found: dict[str, list[dict[str, Any]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    for reference in services.reading.references(caller, f"{namespace}/{name}"):
        is_branch = reference.kind == BRANCH
        full = f"refs/heads/{reference.name}" if is_branch else f"refs/tags/{reference.name}"
        shape = {"name": reference.name, "ref": full, "targetCommit": reference.commit_oid}
        found["branches" if is_branch else "tags"].append(shape)
    return found


@router.post("/api/models/{namespace}/{name}/branch/{revision}")
def create_branch(
    at: Annotated[At, Depends(revision_of)],
    new: Annotated[NewBranch, Depends(json_body(NewBranch))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, bool]:
    """Make a branch, by default at the head of main."""
    services.repositories.create_reference(caller, NewReference(at.repo_id, BRANCH, at.revision, new.start))
    return {"success": True}


@router.delete("/api/models/{namespace}/{name}/branch/{revision}")
def delete_branch(
    at: Annotated[At, Depends(revision_of)], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Remove a branch other than main."""
    services.repositories.delete_branch(caller, at.repo_id, at.revision)
    return {"success": True}


@router.post("/api/models/{namespace}/{name}/tag/{revision}")
def create_tag(
    at: Annotated[At, Depends(revision_of)],
    new: Annotated[NewTag, Depends(json_body(NewTag))],
    caller: CurrentCaller,
    services: AllServices,
) -> dict[str, bool]:
    """Make a tag at a revision."""
    services.repositories.create_reference(caller, NewReference(at.repo_id, TAG, new.tag, at.revision))
    return {"success": True}


@router.delete("/api/models/{namespace}/{name}/tag/{revision}")
def delete_tag(
    at: Annotated[At, Depends(revision_of)], caller: CurrentCaller, services: AllServices
) -> dict[str, bool]:
    """Remove a tag."""
    services.repositories.delete_tag(caller, at.repo_id, at.revision)
    return {"success": True}
