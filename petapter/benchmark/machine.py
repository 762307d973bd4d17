"""What a run ran on and what it took: versions, hardware, threads, the peak of this process's memory."""

import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

_LIBRARIES = ("petapter", "torch", "transformers", "peft", "scikit-learn", "numpy")
_STATUS = Path("/proc/self/status")
_CPU_INFO = Path("/proc/cpuinfo")
_KIB = 1024


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def hardware(device: torch.device) -> str:
    """The GPU's name, or the CPU's with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {os.cpu_count()} cores"


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Run a block with so many threads of torch; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory_bytes() -> int:
    """The most memory this process ever held.

    Linux keeps two such figures. `ru_maxrss` survives the start of a new program and so begins with the peak of the
    process that started this one; VmHWM begins anew.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


def peak_gpu_bytes(device: torch.device) -> int | None:
    """The most memory that torch ever held on a GPU; None on a CPU."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else None


def _cpu_name() -> str:
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
