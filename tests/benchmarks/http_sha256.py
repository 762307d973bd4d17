"""The server that large transfers are compared with: HTTP and sha256, and nothing else; or a synced file besides.

    python -m tests.benchmarks.http_sha256 FILE PORT_FILE

`PUT /` hashes the body as it comes and answers with the digest; `PUT /synced` writes it beside FILE too and answers
when that is on the disk, which shows what durability costs; `GET /` sends the file.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

CHUNK = 1 << 20


def application(file: Path) -> Starlette:
    """The server's two routes."""

    async def put(request: Request) -> PlainTextResponse:
        digest = hashlib.sha256()
        async for chunk in request.stream():
            digest.update(chunk)
        return PlainTextResponse(digest.hexdigest())

    async def put_synced(request: Request) -> PlainTextResponse:
        digest = hashlib.sha256()
        with file.with_name("received").open("wb", buffering=0) as stream:
            async for chunk in request.stream():
                digest.update(chunk)
                stream.write(chunk)
            os.fsync(stream.fileno())
        return PlainTextResponse(digest.hexdigest())

    def get(_request: Request) -> StreamingResponse:
        return StreamingResponse(_chunks(file), headers={"Content-Length": str(file.stat().st_size)})

    puts = [Route("/", put, methods=["PUT"]), Route("/synced", put_synced, methods=["PUT"])]
    return Starlette(routes=[*puts, Route("/", get)])


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def main() -> None:
    """Serve until killed."""
    file, port_file = map(Path, sys.argv[1:])
    listener = socket.create_server(("127.0.0.1", 0))
    uvicorn_server = uvicorn.Server(uvicorn.Config(application(file), log_level="warning", access_log=False))
    scratch = port_file.with_suffix(".new")
    scratch.write_text(str(listener.getsockname()[1]))
    scratch.replace(port_file)
    uvicorn_server.run(sockets=[listener])


if __name__ == "__main__":
    main()
