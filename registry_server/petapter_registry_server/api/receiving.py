"""Bodies of any length: streamed to a file, measured on the way, and hashed where that is asked for.

While a worker thread writes (and hashes) one block, the event loop receives the next, and what is to stay goes to the
disk meanwhile.
"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from petapter_registry_server.errors import TooLargeError

_BLOCK_BYTES = 1 << 20
"""What goes to a thread at once; a server gives bodies in pieces of 64 KiB, and each hand-over costs 0.1 ms."""

_FLUSH_BYTES = 32 << 20
"""How often what is to stay is synced while more arrives, so that little is left to wait for at the end."""


async def save_body(request: Request, file: Path, check: Callable[[int], None]) -> None:
    """Write the body of a request to a file.

    Args:
        request: Whose body.
        file: Made here.
        check: Called with the length that the request declares, and then with what has arrived; raises to stop.
    """
    await _save(request, file, check, _Handling(lambda _: None, lambda _: None, sys.maxsize))


async def save_and_hash(
    request: Request, file: Path, check: Callable[[int], None], flush: Callable[[Path], None]
) -> str:
    """`save_body` for a file that is to stay; its sha256. `flush` writes to disk what has arrived, now and then."""
    digest = hashlib.sha256()
    await _save(request, file, check, _Handling(digest.update, flush, _FLUSH_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True)
class _Handling:
    """What else is done with a body: who sees its bytes, and how, and after how many of them, the file is flushed."""

    see: Callable[[bytes], None]
    flush: Callable[[Path], None]
    flush_bytes: int


async def _save(request: Request, file: Path, check: Callable[[int], None], handling: _Handling) -> None:
    declared = request.headers.get("content-length", "")
    check(int(declared) if declared.isdecimal() else 0)
    size = held = flushed = 0
    block: list[bytes] = []
    writing, flushing = _nothing_yet(), _nothing_yet()
    with file.open("wb") as stream:

        def write(chunks: Sequence[bytes]) -> None:
            for chunk in chunks:
                handling.see(chunk)
            stream.writelines(chunks)

        try:
            async for chunk in request.stream():
                size += len(chunk)
                check(size)
                block.append(chunk)
                held += len(chunk)
                if held >= _BLOCK_BYTES:
                    await writing
                    writing = asyncio.create_task(run_in_threadpool(write, block))
                    block, held = [], 0
                if size - flushed >= handling.flush_bytes and flushing.done():
                    flushing.result()  # one that failed is not tried again
                    flushing, flushed = asyncio.create_task(run_in_threadpool(handling.flush, file)), size
        finally:
            await asyncio.gather(writing, flushing)
        await run_in_threadpool(write, block)


def _nothing_yet() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def at_most(size: int) -> Callable[[int], None]:
    """A check for `save_body` that lets so many bytes through. Raises: TooLargeError when more arrive."""

    def check(arrived: int) -> None:
        if arrived > size:
            raise TooLargeError(f"more bytes arrive than the {size} that are taken here")

    return check
