"""Sends large files by LFS before the commit that names them, part by part; knows bytes, not modules.

What arrived is not sent again. A petapter registry tells which parts of a file it has, in a header field of its batch
answer that other clients pass over; the Hub tells of whole files alone. LFS and not Xet: both kinds of remote take it,
and its bytes can be counted, stopped at any moment and gone on with.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants, get_session
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it exports them lazily
    hf_raise_for_status,
    http_backoff,
)
from pydantic import BaseModel, Field

from petapter_hub_client.hub import Hub, asking
from petapter_schemas.errors import RemoteError, RemoteUnreachableError

if TYPE_CHECKING:
    from httpx2 import Response

OnBytes = Callable[[int], None]
"""Called with how many more bytes the remote has; a negative number takes some back."""

ARRIVED = "arrived"
"""In the header of an upload: the parts that a registry has, each as NUMBER:SHA256, with spaces between."""

_MEDIA_TYPE = "application/vnd.git-lfs+json"
_CHUNK_SIZE = "chunk_size"
_TRIES = 4
_PAUSE_S = 0.5
_PIECE_BYTES = 1 << 16
_COMPLETE_TIMEOUT_S = 600.0
"""The remote puts the parts together and hashes them before it answers."""
_TRANSIENT = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR,
     HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)  # fmt: skip


@dataclass(frozen=True)
class LocalFile:
    """A file of a commit.

    Attributes:
        path: In the repository.
        source: On this disk.
        size: In bytes.
        sha256: In hex.
    """

    path: str
    source: Path
    size: int
    sha256: str


class _Action(BaseModel):
    href: str
    header: dict[str, str] = Field(default_factory=dict)


class _Problem(BaseModel):
    message: str


class _Actions(BaseModel):
    upload: _Action
    verify: _Action | None = None


class _Object(BaseModel):
    """What a remote says of a file; without actions, that it has the bytes."""

    actions: _Actions | None = None
    error: _Problem | None = None


class _Batch(BaseModel):
    objects: list[_Object] = Field(min_length=1, max_length=1)


@dataclass(frozen=True)
class _Part:
    """Some bytes of a file and where they go."""

    file: LocalFile
    begin: int
    size: int
    address: str

    def pieces(self) -> Iterator[bytes]:
        with self.file.source.open("rb") as stream:
            stream.seek(self.begin)
            left = self.size
            while left and (piece := stream.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
                yield piece

    @property
    def sha256(self) -> str:
        digest = sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()


def send_large(hub: Hub, repo_id: str, file: LocalFile, on_bytes: OnBytes) -> None:
    """Let a repository have the bytes of a file, unless it has them.

    Raises:
        RemoteError: The remote said no, or broke off several times; the parts that arrived stay there.
    """
    told = _ask(hub, repo_id, file)
    if told.error is not None:
        raise RemoteError(f"remote {hub.remote.name!r} does not take {file.path}: {told.error.message}")
    if told.actions is None:
        on_bytes(file.size)
        return
    _send(hub, repo_id, file, told.actions.upload, on_bytes)
    if told.actions.verify is not None:
        _tell_done(hub, repo_id, told.actions.verify, file)


def _ask(hub: Hub, repo_id: str, file: LocalFile) -> _Object:
    asked = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": [{"oid": file.sha256, "size": file.size}],
        "hash_algo": "sha256",
        "ref": {"name": constants.DEFAULT_REVISION},
    }
    with asking(hub.remote, repo_id):
        response = http_backoff(
            "POST", f"{hub.remote.url}/{repo_id}.git/info/lfs/objects/batch", json=asked, headers=_headers(hub)
        )
        hf_raise_for_status(response)
    return hub.read(_Batch, response.content).objects[0]


def _headers(hub: Hub) -> dict[str, str]:
    return hub.headers | {"accept": _MEDIA_TYPE, "content-type": _MEDIA_TYPE}


def _send(hub: Hub, repo_id: str, file: LocalFile, upload: _Action, on_bytes: OnBytes) -> None:
    if _CHUNK_SIZE not in upload.header:
        _put(hub, repo_id, _Part(file, 0, file.size, upload.href), on_bytes)
        return
    there = _arrived(upload.header)
    done = []
    for number, part in enumerate(_parts(hub, file, upload.header), start=1):
        if number in there and there[number] == part.sha256:
            on_bytes(part.size)
            tag = f'"{there[number]}"'
        else:
            tag = _put(hub, repo_id, part, on_bytes)
        done.append({"partNumber": number, "etag": tag})
    with asking(hub.remote, repo_id):
        response = get_session().post(
            upload.href, json={"oid": file.sha256, "parts": done}, headers={"accept": _MEDIA_TYPE},
            timeout=_COMPLETE_TIMEOUT_S,
        )  # fmt: skip
        hf_raise_for_status(response)


def _parts(hub: Hub, file: LocalFile, header: dict[str, str]) -> list[_Part]:
    addresses = [header[name] for name in sorted((name for name in header if name.isdigit()), key=int)]
    size = int(header[_CHUNK_SIZE]) if header[_CHUNK_SIZE].isdigit() else 0
    if size == 0 or len(addresses) != -(-file.size // size):
        raise RemoteError(f"remote {hub.remote.name!r} gives no address for each part of {file.path}: try again later")
    begins = range(0, file.size, size)
    return [
        _Part(file, begin, min(size, file.size - begin), address)
        for begin, address in zip(begins, addresses, strict=True)
    ]


def _arrived(header: dict[str, str]) -> dict[int, str]:
    """Digests of the parts that are there, by number; what is not understood is sent."""
    told = (part.partition(":") for part in header.get(ARRIVED, "").split())
    return {int(number): digest for number, _, digest in told if number.isdigit()}


def _put(hub: Hub, repo_id: str, part: _Part, on_bytes: OnBytes) -> str:
    """Send a part, several times if need be, and return its ETag; addresses are signed, so no token goes with it."""
    for attempt in range(1, _TRIES + 1):
        sent = 0

        def counted() -> Iterator[bytes]:
            nonlocal sent
            for piece in part.pieces():
                yield piece
                sent += len(piece)
                on_bytes(len(piece))

        try:
            with asking(hub.remote, repo_id):
                response: Response = get_session().put(
                    part.address, content=counted(), headers={"content-length": str(part.size)},
                    timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                )  # fmt: skip
                if response.status_code not in _TRANSIENT or attempt == _TRIES:
                    hf_raise_for_status(response)
                    return str(response.headers.get("etag", ""))
        except RemoteUnreachableError as error:
            if attempt == _TRIES:
                raise RemoteUnreachableError(
                    f"remote {hub.remote.name!r} broke off in {part.file.path} and does not go on: run the same "
                    "command again, which continues there"
                ) from error
        on_bytes(-sent)
        time.sleep(_PAUSE_S * attempt)
    raise AssertionError  # the last try returns or raises


def _tell_done(hub: Hub, repo_id: str, verify: _Action, file: LocalFile) -> None:
    """As the protocol asks; the token goes to the remote itself alone."""
    headers = _headers(hub) if verify.href.startswith(f"{hub.remote.url}/") else {"content-type": _MEDIA_TYPE}
    with asking(hub.remote, repo_id):
        response = http_backoff(
            "POST", verify.href, json={"oid": file.sha256, "size": file.size}, headers=headers | verify.header
        )
        hf_raise_for_status(response)
