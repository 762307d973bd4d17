"""Style sheet, scripts and icon: each under a name with the hash of its content, which browsers keep for a year."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request, Response

from petapter_registry_server.api.raw_path import Segment

router = APIRouter(include_in_schema=False)

FOLDER = "static"
_HASH_DIGITS = 12
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent.

    Attributes:
        name: With the hash in it, such as `pages.0123456789ab.css`.
        packed: The same bytes by gzip.
    """

    name: str
    media_type: str
    content: bytes
    packed: bytes


@router.get("/static/{file}")
def static_file(file: Segment, request: Request) -> Response:
    """A file of the pages; another content has another name."""
    found = _by_name().get(file)
    if found is None:
        return Response("there is no such file: load the page again", status_code=404, media_type="text/plain")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.packed, media_type=found.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.content, media_type=found.media_type, headers=headers)


def address(name: str) -> str:
    """Where a file is that templates know as `pages.css`.

    Raises:
        KeyError: There is none.
    """
    return f"/static/{_files()[name].name}"


@cache
def _files() -> dict[str, StaticFile]:
    folder = resources.files("petapter_registry_server.web") / FOLDER
    return {
        entry.name: _read(entry.name, entry.read_bytes())
        for entry in folder.iterdir()
        if entry.name.rpartition(".")[2] in _TYPES
    }


@cache
def _by_name() -> dict[str, StaticFile]:
    return {file.name: file for file in _files().values()}


def _read(name: str, content: bytes) -> StaticFile:
    stem, _, ending = name.rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]
    return StaticFile(f"{stem}.{digest}.{ending}", _TYPES[ending], content, gzip.compress(content, 9, mtime=0))
