"""Brings the bytes of a remote's files, going on where an earlier try was cut off; knows bytes, not modules."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it exports them lazily
    hf_raise_for_status,
    http_stream_backoff,
)

from petapter_hub_client.hub import Hub, asking
from petapter_schemas.digests import git_blob_sha1, sha256_bytes
from petapter_schemas.errors import DigestMismatchError, RemoteUnreachableError

if TYPE_CHECKING:
    from httpx2 import Response

OnBytes = Callable[[int], None]
"""Called with how many more bytes of a file are here; a negative number takes some back."""

_TRIES = 4
"""In a row that brought not one byte."""
_PAUSE_S = 0.5
_PIECE_BYTES = 1 << 18
_RANGE = re.compile(r"bytes (\d+)-")
_DIGEST = re.compile(r'(?:W/)?"([0-9a-f]{64}|[0-9a-f]{40})"')


@dataclass(frozen=True)
class RemoteFile:
    """A file at a commit, of which everything is known but its bytes.

    Attributes:
        repo_id: namespace/name.
        commit: 40 hex digits.
        path: Inside the repository.
    """

    repo_id: str
    commit: str
    path: str


@dataclass(frozen=True)
class _Coming:
    """Bytes on their way.

    Attributes:
        begin: Where in the file they begin.
        pieces: They.
        digest: What the remote calls the whole file by, if that may be a digest of it (`_digests`).
    """

    begin: int
    pieces: Iterator[bytes]
    digest: str | None


def read_small(hub: Hub, file: RemoteFile, max_bytes: int) -> bytes:
    """A whole file of unknown size, compared with the digest that the remote knows it by.

    Raises:
        DigestMismatchError: It is longer than `max_bytes`, or not what was pushed.
        RemoteError: The remote said no, or nothing.
    """
    data = b""
    with asking(hub.remote, file.repo_id), _response(hub, file, begin=0) as coming:
        for piece in coming.pieces:
            data += piece
            if len(data) > max_bytes:
                raise DigestMismatchError(f"{file.path} of {file.repo_id} has more than the {max_bytes} bytes allowed")
    if coming.digest is not None and coming.digest not in _digests(data):
        raise DigestMismatchError(
            f"{file.path} of {file.repo_id} is damaged: its bytes are not those of which remote {hub.remote.name!r} "
            "knows the digest; pull again, and if that does not help tell whoever runs the remote"
        )
    return data


def _digests(data: bytes) -> set[str]:
    """By all of which a file of these bytes may be known: git's, and the sha1 of mirrors."""
    return {git_blob_sha1(data), hashlib.sha1(data, usedforsecurity=False).hexdigest(), sha256_bytes(data)}


def complete(hub: Hub, file: RemoteFile, target: Path, size: int, on_bytes: OnBytes) -> None:
    """Let `target`, which may hold the first bytes already, grow until it has `size` bytes.

    Whatever happens, what came stays in `target`, so that the next call goes on there.

    Raises:
        DigestMismatchError: The remote's file has another size.
        RemoteError: The remote said no, or broke off several times.
        OSError: The disk refused.
    """
    tries = 0
    while (have := _size(target)) != size:
        try:
            with asking(hub.remote, file.repo_id):
                _append(hub, file, target, size, on_bytes)
        except RemoteUnreachableError as error:
            tries = 0 if _size(target) > have else tries + 1
            if tries == _TRIES:
                raise RemoteUnreachableError(
                    f"remote {hub.remote.name!r} broke off after {_size(target):,} of the {size:,} bytes of "
                    f"{file.path} and does not go on: run the same command again, which continues there"
                ) from error
            time.sleep(_PAUSE_S * tries)
        else:
            _check_size(target, file, size)


def _append(hub: Hub, file: RemoteFile, target: Path, size: int, on_bytes: OnBytes) -> None:
    have = _size(target)
    if have > size:
        target.unlink()
        on_bytes(-have)
        have = 0
    with _response(hub, file, begin=have) as coming, target.open("r+b" if have else "wb") as stream:
        stream.seek(coming.begin)
        stream.truncate()
        on_bytes(coming.begin - have)
        for piece in coming.pieces:
            stream.write(piece)
            on_bytes(len(piece))
            if stream.tell() > size:
                return


@contextmanager
def _response(hub: Hub, file: RemoteFile, begin: int) -> Iterator[_Coming]:
    """What the remote sends; from 0 where it knows no ranges or no such one."""
    url = hf_hub_url(file.repo_id, file.path, revision=file.commit, endpoint=hub.remote.url)
    headers = hub.headers
    headers["accept-encoding"] = "identity"  # ranges count the bytes that are sent
    if begin:
        headers["range"] = f"bytes={begin}-"
    with _opened(url, headers) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            with _response(hub, file, begin=0) as whole:
                yield whole
            return
        hf_raise_for_status(response)
        yield _Coming(_first_byte(response, begin), response.iter_bytes(_PIECE_BYTES), _digest(response))


@contextmanager
def _opened(url: str, headers: dict[str, str]) -> "Iterator[Response]":
    """An answer of which the headers are here; waits where the remote says that it had too many questions."""
    with http_stream_backoff(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True,
        retry_on_exceptions=(), retry_on_status_codes=HTTPStatus.TOO_MANY_REQUESTS,
    ) as response:  # fmt: skip
        yield response


def _digest(response: "Response") -> str | None:
    """What the remote, or the store that it redirects to, calls the file by, if that is a digest of its bytes."""
    for answer in (*response.history, response):
        for name in ("x-linked-etag", "etag"):
            if (found := _DIGEST.fullmatch(answer.headers.get(name, ""))) is not None:
                return found[1]
    return None


def _first_byte(response: "Response", begin: int) -> int:
    """Where the bytes of an answer begin: a server without ranges sends all (200)."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = _RANGE.match(response.headers.get("content-range", ""))
    return int(found[1]) if found is not None and int(found[1]) <= begin else begin


def _check_size(target: Path, file: RemoteFile, size: int) -> None:
    if (found := _size(target)) != size:
        target.unlink()
        raise DigestMismatchError(
            f"{file.path} of {file.repo_id} was changed: the remote sends {found:,} bytes or more, the manifest says "
            f"{size:,}; do not use it, and tell whoever runs the remote"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
