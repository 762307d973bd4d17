"""What a process that runs a backbone settles first: how many threads torch has, and what becomes of freed memory.

torch takes a thread for every core of the machine. A container or a service that was given two of sixty-four then lets
sixty-four threads wait for each other, many times slower than two.

glibc gives large blocks back to the kernel when they are freed, and what a pass gives back the next one asks for again,
page by page of zeros: up to a tenth of the time of a pass on a CPU (tests/benchmarks/results/runtime.md).
"""

import ctypes
import math
import os
import sys
from pathlib import Path

import torch

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUP = Path("/sys/fs/cgroup")
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Microseconds of processors, and of the period that they are for."""
LARGEST_KEPT = 32 * 2**20
"""Bytes of the largest block that is kept when it is freed; glibc by itself goes no further either."""
_KEPT = 128 * 2**20
"""Bytes that may stay at the end of the heap: what a layer of a pass has at a time."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def usable_processors(cgroup: Path = _CGROUP) -> int:
    """Processors that this process may use at a time: those it may run on, and no more than its control group is given.

    Args:
        cgroup: Where control groups are mounted. A container sees its own there, of version 2 (`cpu.max`) or 1
            (`cpu/cpu.cfs_quota_us`); part of a processor counts as a whole one if it is the first.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return count if quota is None else max(1, min(count, math.floor(quota)))


def fit_threads() -> int:
    """Let torch use no more threads than there are processors, unless OMP_NUM_THREADS says how many; returns them."""
    if not any(os.environ.get(name) for name in _CHOSEN_BY):
        torch.set_num_threads(min(torch.get_num_threads(), usable_processors()))
    return torch.get_num_threads()


def keep_freed_memory() -> bool:
    """Let the C library keep up to 128 MiB of freed memory for the next pass, in blocks of less than 32 MiB each.

    Where it is not glibc, or where the environment says what is to be kept (`MALLOC_TRIM_THRESHOLD_`,
    `MALLOC_MMAP_THRESHOLD_`, `GLIBC_TUNABLES`), all stays as it is.

    Returns:
        Whether it does now.
    """
    if not sys.platform.startswith("linux") or any(os.environ.get(name) for name in _KEPT_BY):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))


def settle() -> None:
    """Both, before a backbone is loaded: for commands and programs that own their process."""
    fit_threads()
    keep_freed_memory()


def _quota(cgroup: Path) -> float | None:
    """Processors that a control group is given; None without a limit."""
    for files in _QUOTAS:
        try:
            given, period = " ".join((cgroup / file).read_text() for file in files).split()
            quota = float(given) / float(period)
        except (OSError, ValueError, ZeroDivisionError):  # not there, or "max"
            continue
        return quota if quota > 0 else None
    return None
