"""What a process grows by, from heaps with a past: it decides what the C library can use again."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_SIZES = (16, 300, 3072, 5000, 73728, 80000, 200000)
"""Numbers of a block, of four bytes each."""


def old_heap(past: int) -> list[torch.Tensor]:
    """Blocks of many sizes, between which others were freed; none of past 0. They are to be held."""
    draw = random.Random(past)  # noqa: S311
    held = [torch.empty(draw.choice(_SIZES)) for _ in range(draw.randrange(50, 400) if past else 0)]
    draw.shuffle(held)
    del held[: draw.randrange(len(held) + 1)]
    return held


def forked(run: Callable[[], None]) -> None:
    """Run in a process that begins as this one is."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit("a forked process failed")


def memory_of_process(*, begin_peak: bool = False) -> dict[str, int]:
    """Bytes of the process by the system's name: resident, of these of files, and the peak, which may begin here."""
    if begin_peak:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    names = ("VmRSS", "RssFile", "VmHWM")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in names}
