"""Makes one commit on a remote, the large files of which go before it; knows bytes, not modules."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from huggingface_hub import constants, get_session
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # it exports them lazily
    hf_raise_for_status,
    http_backoff,
)
from pydantic import BaseModel, Field

from petapter_hub_client.hub import Hub, asking
from petapter_hub_client.large_files import LocalFile, send_large
from petapter_schemas.digests import git_blob_sha1
from petapter_schemas.errors import RemoteError

OnFileBytes = Callable[[str, int], None]
"""Called with a file's path and how many more bytes of it the remote has; a negative number takes some back."""

_SAMPLE_BYTES = 512
_MOST_ASKED = 256
"""Files in one question; the Hub takes no more."""
_PIECE_BYTES = 3 << 14  # divisible by 3, so that base64 of the pieces is base64 of the whole
_INLINE = "regular"


@dataclass(frozen=True)
class NewCommit:
    """What a commit is to change.

    Attributes:
        message: One line.
        parent: The commit that it follows; None for the first.
        adds: Files that are new or changed, or may be.
        deletes: Paths that go.
    """

    message: str
    parent: str | None
    adds: tuple[LocalFile, ...]
    deletes: tuple[str, ...]


class _Mode(BaseModel):
    """How a remote wants a file, and the digest of what lies there now: git's of an inline file, else sha256."""

    path: str
    mode: Literal["lfs", "regular"] = Field(alias="uploadMode")
    is_ignored: bool = Field(default=False, alias="shouldIgnore")
    oid: str | None = None


class _Modes(BaseModel):
    files: list[_Mode]


class _Made(BaseModel):
    oid: str = Field(alias="commitOid", pattern=r"^[0-9a-f]{40}$")


def commit_files(hub: Hub, repo_id: str, commit: NewCommit, on_bytes: OnFileBytes) -> str:
    """Make a commit on the main branch and return its id.

    Raises:
        VersionConflictError: The branch is no longer where `parent` says.
        RemoteError: The remote said no, or nothing; large files that arrived are not sent again.
    """
    modes = {mode.path: mode for mode in _modes(hub, repo_id, commit.adds)}
    changed = [file for file in commit.adds if not _is_there(file, modes[file.path])]
    for file in set(commit.adds) - set(changed):
        on_bytes(file.path, file.size)
    large = [file for file in changed if modes[file.path].mode != _INLINE]
    for file in large:
        send_large(hub, repo_id, file, partial(on_bytes, file.path))
    inline = [file for file in changed if modes[file.path].mode == _INLINE]
    return _commit(hub, repo_id, _Body(commit, inline, large, on_bytes))


def _modes(hub: Hub, repo_id: str, files: Sequence[LocalFile]) -> Iterator[_Mode]:
    for first in range(0, len(files), _MOST_ASKED):
        some = files[first : first + _MOST_ASKED]
        asked = [{"path": file.path, "size": file.size, "sample": _sample(file)} for file in some]
        with asking(hub.remote, repo_id):
            response = http_backoff(
                "POST", f"{_api(hub, repo_id)}/preupload/{constants.DEFAULT_REVISION}", json={"files": asked},
                headers=hub.headers,
            )  # fmt: skip
            hf_raise_for_status(response)
        told = hub.read(_Modes, response.content).files
        if {mode.path for mode in told} != {file.path for file in some}:
            raise RemoteError(f"remote {hub.remote.name!r} was asked about {len(some)} files and speaks of others")
        if ignored := [mode.path for mode in told if mode.is_ignored]:
            raise RemoteError(f"the .gitignore of {repo_id} leaves out {', '.join(ignored)}: take that rule out of it")
        yield from told


def _sample(file: LocalFile) -> str:
    with file.source.open("rb") as stream:
        return base64.b64encode(stream.read(_SAMPLE_BYTES)).decode("ascii")


def _is_there(file: LocalFile, mode: _Mode) -> bool:
    if mode.oid is None:
        return False
    return mode.oid == (file.sha256 if mode.mode != _INLINE else git_blob_sha1(file.source.read_bytes()))


@dataclass(frozen=True)
class _Body:
    """The lines of a commit; each is one JSON value, and a file is read as its line is sent."""

    commit: NewCommit
    inline: Sequence[LocalFile]
    large: Sequence[LocalFile]
    on_bytes: OnFileBytes

    @property
    def size(self) -> int:
        """Of all lines, known before one of them is made."""
        ends = sum(len(part) for file in self.inline for part in self._around(file))
        return len(self._head) + len(self._tail) + ends + sum(4 * -(-file.size // 3) for file in self.inline)

    def lines(self) -> Iterator[bytes]:
        yield self._head
        for file in self.inline:
            before, after = self._around(file)
            yield before
            yield from self._encoded(file)
            yield after
        yield self._tail

    @property
    def _head(self) -> bytes:
        parent = {} if self.commit.parent is None else {"parentCommit": self.commit.parent}
        return _line("header", {"summary": self.commit.message, "description": "", **parent})

    @property
    def _tail(self) -> bytes:
        linked = [
            _line("lfsFile", {"path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.size})
            for file in self.large
        ]
        return b"".join([*linked, *(_line("deletedFile", {"path": path}) for path in self.commit.deletes)])

    def _around(self, file: LocalFile) -> tuple[bytes, bytes]:
        before, after = _line("file", {"path": file.path, "encoding": "base64", "content": ""}).rsplit(b'""', 1)
        return before + b'"', b'"' + after

    def _encoded(self, file: LocalFile) -> Iterator[bytes]:
        with file.source.open("rb") as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield base64.b64encode(piece)
                self.on_bytes(file.path, len(piece))


def _line(key: str, value: dict[str, object]) -> bytes:
    return json.dumps({"key": key, "value": value}).encode() + b"\n"


def _commit(hub: Hub, repo_id: str, body: _Body) -> str:
    headers = hub.headers | {"content-type": "application/x-ndjson", "content-length": str(body.size)}
    address = f"{_api(hub, repo_id)}/commit/{constants.DEFAULT_REVISION}"
    with asking(hub.remote, repo_id):
        response = get_session().post(address, content=body.lines(), headers=headers)
        hf_raise_for_status(response, endpoint_name="commit")
    return hub.read(_Made, response.content).oid


def _api(hub: Hub, repo_id: str) -> str:
    return f"{hub.remote.url}/api/models/{repo_id}"
