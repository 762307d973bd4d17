"""Bodies of any length: streamed to a file, measured on the way."""

from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.errors import TooLargeError


async def save_body(request: Request, file: Path, check: Callable[[int], None]) -> None:
    """Write the body of a request to a file.

    Args:
        request: Whose body.
        file: Made here.
        check: Called with the length that the request declares, and then with what has arrived; raises to stop.
    """
    declared = request.headers.get("content-length", "")
    check(int(declared) if declared.isdecimal() else 0)
    size = 0
    with file.open("wb") as stream:
        async for chunk in request.stream():
            size += len(chunk)
            check(size)
            await run_in_threadpool(stream.write, chunk)


def at_most(size: int) -> Callable[[int], None]:
    """A check for `save_body` that lets so many bytes through. Raises: TooLargeError when more arrive."""

    def check(arrived: int) -> None:
        if arrived > size:
            raise TooLargeError(f"more bytes arrive than the {size} that are taken here")

    return check
