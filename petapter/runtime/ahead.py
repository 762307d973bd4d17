"""Makes the next piece of work in a thread while the one before is done: texts become tokens beside a device that runs.

Tokenizers leave Python's lock to others while they work, so the thread that feeds the device goes on meanwhile.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Part], Made], parts: Sequence[Part]) -> Iterator[Made]:
    """What is made of each part, in order, one ahead; whatever `make` raises comes in the place of what it was to make.

    A single part is made on the caller's thread.
    """
    if len(parts) <= 1:
        yield from map(make, parts)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="petapter-tokens") as pool:
        coming: Future[Made] | None = None
        for part in parts:
            before, coming = coming, pool.submit(make, part)
            if before is not None:
                yield before.result()
        if coming is not None:
            yield coming.result()
