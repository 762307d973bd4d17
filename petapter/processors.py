"""How many threads torch may use: as many as this process has processors, in a container fewer than it sees.

torch takes a thread for every core of the machine. A container or a service that was given two of sixty-four then lets
sixty-four threads wait for each other, many times slower than two.
"""

import math
import os
from pathlib import Path

import torch

_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CGROUP = Path("/sys/fs/cgroup")
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Microseconds of processors, and of the period that they are for."""


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
