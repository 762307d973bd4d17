"""Bodies of any length: streamed to a file, measured on the way."""

from collections.abc import Callable
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool


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
