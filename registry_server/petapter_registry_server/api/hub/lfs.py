"""Large files by LFS: what is to be sent where, and the addresses that take it. Clients send no token to those."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.api.addresses import address_of
from petapter_registry_server.api.dependencies import AllServices, Body, CurrentCaller, json_body
from petapter_registry_server.api.raw_path import Segment
from petapter_registry_server.api.receiving import at_most, save_and_hash
from petapter_registry_server.errors import NotOfferedError
from petapter_registry_server.services.access import Caller
from petapter_registry_server.services.signed_addresses import Grant
from petapter_registry_server.services.staged_names import StagedName
from petapter_registry_server.services.uploads import PART_BYTES, Announced, Wanted, expected_bytes, parts_in
from petapter_registry_server.services.wired import Services

router = APIRouter()

_MEDIA_TYPE = "application/vnd.git-lfs+json"
_MOST_OBJECTS = 1000
_TOO_LARGE = 413

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class LfsObject(Body):
    """A file by its digest."""

    oid: Digest
    size: int = Field(ge=0, le=1 << 50)


class Batch(Body):
    """Files that a client means to send, and the ways it knows."""

    operation: str
    transfers: tuple[str, ...] = ()
    objects: list[LfsObject] = Field(max_length=_MOST_OBJECTS)
    hash_algo: Literal["sha256"] = "sha256"


@router.post("/{namespace}/{name}/info/lfs/objects/batch")
def batch(
    request: Request,
    namespace: Segment,
    name: Segment,
    asked: Annotated[Batch, Depends(json_body(Batch))],
    caller: CurrentCaller,
    services: AllServices,
) -> Response:
    """Where to send each file; no actions for those that are here.

    Beside the addresses of parts, `arrived` names those that are here by number and sha256, so that a client need not
    send them again; clients that do not know it pass over it.
    """
    if asked.operation != "upload":
        raise NotOfferedError("this registry gives files by plain HTTP below /resolve/, not by LFS")
    repo_id = f"{namespace}/{name.removesuffix('.git')}"
    files = [Wanted(each.oid, each.size) for each in asked.objects]
    repository_id, announced = services.uploads.announce(caller, repo_id, files)
    in_parts = "multipart" in asked.transfers and any(file.size > PART_BYTES for file in files)
    place = _Place(request, services, caller, repository_id)
    verify = f"{address_of(request)}/{repo_id}.git/info/lfs/verify"
    objects = [_object(place, each, verify, in_parts=in_parts) for each in announced]
    return _lfs_answer({"transfer": "multipart" if in_parts else "basic", "objects": objects})


@router.post("/{namespace}/{name}/info/lfs/verify")
def verify(
    namespace: Segment,
    name: Segment,
    file: Annotated[LfsObject, Depends(json_body(LfsObject))],
    caller: CurrentCaller,
    services: AllServices,
) -> Response:
    """Whether a file has arrived."""
    repo_id = f"{namespace}/{name.removesuffix('.git')}"
    services.uploads.check_arrived(caller, repo_id, Wanted(file.oid, file.size))
    return _lfs_answer({"oid": file.oid, "size": file.size})


@router.put("/api/uploads/{signed}")
async def receive(request: Request, signed: Segment, services: AllServices) -> Response:
    """The bytes of a file, or a part of one, under an address that `batch` gave."""
    grant = services.signed_addresses.read(signed, "basic", "part")
    with services.uploads.scratch() as scratch:
        file = scratch / "bytes"
        digest = await save_and_hash(request, file, at_most(expected_bytes(grant)), services.uploads.flush)
        keep = services.uploads.keep_part if grant.kind == "part" else services.uploads.keep
        await run_in_threadpool(keep, grant, file, digest)
    return Response(headers={"ETag": f'"{digest}"'})


@router.post("/api/uploads/{signed}")
def complete(signed: Segment, services: AllServices) -> dict[str, str]:
    """All parts of a file have been sent."""
    grant = services.signed_addresses.read(signed, "complete")
    services.uploads.complete(grant)
    return {"oid": grant.sha256}


class _Place:
    """Gives addresses for one caller and repository: here, on the host that the client used, or in the object store."""

    def __init__(self, request: Request, services: Services, caller: Caller, repository_id: int) -> None:
        self._base = f"{address_of(request)}/api/uploads"
        self._sign = services.signed_addresses.sign
        self._uploads = services.uploads
        self._caller = caller
        self._repository_id = repository_id

    def addresses(self, file: Wanted) -> "_Addresses":
        return _Addresses(self, file, self._uploads.begin_direct(self._caller, self._repository_id, file))

    def here(self, kind: str, file: Wanted, *, part: int = 0, staged: str = "") -> str:
        return f"{self._base}/{self._sign(Grant(kind, self._repository_id, file.sha256, file.size, part, staged))}"

    def in_the_store(self, name: StagedName) -> str:
        return self._uploads.direct_address(name)


@dataclass(frozen=True)
class _Addresses:
    """Those of one file; `staged` is its name in the object store, if it is to go there."""

    place: _Place
    file: Wanted
    staged: StagedName | None

    def whole(self) -> str:
        return self.place.here("basic", self.file) if self.staged is None else self.place.in_the_store(self.staged)

    def part(self, number: int) -> str:
        if self.staged is None:
            return self.place.here("part", self.file, part=number)
        return self.place.in_the_store(self.staged.of_part(number))

    def complete(self) -> str:
        return self.place.here("complete", self.file, staged="" if self.staged is None else str(self.staged))


def _object(place: _Place, announced: Announced, verify: str, *, in_parts: bool) -> dict[str, Any]:
    file = announced.file
    shape: dict[str, Any] = {"oid": file.sha256, "size": file.size}
    if announced.refusal is not None:
        return shape | {"error": {"code": _TOO_LARGE, "message": announced.refusal}}
    if announced.is_here:
        return shape
    addresses = place.addresses(file)
    if in_parts and file.size > PART_BYTES:
        upload = _upload_in_parts(addresses, announced)
    else:
        upload = {"href": addresses.whole()}
    return shape | {"actions": {"upload": upload, "verify": {"href": verify}}}


def _upload_in_parts(addresses: _Addresses, announced: Announced) -> dict[str, Any]:
    """Parts that were sent to the object store are not looked at before all are there, so `arrived` names none."""
    there = announced.parts if addresses.staged is None else {}
    arrived = " ".join(f"{number}:{sha256}" for number, sha256 in there.items())
    parts = {f"{number:05d}": addresses.part(number) for number in range(1, parts_in(announced.file.size) + 1)}
    return {"href": addresses.complete(), "header": {"chunk_size": str(PART_BYTES), "arrived": arrived, **parts}}


def _lfs_answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, media_type=_MEDIA_TYPE)
