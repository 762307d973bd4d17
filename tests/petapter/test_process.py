"""How many threads torch gets, in control groups of both versions; and that freed memory stays."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from petapter import process
from petapter.process import fit_threads, keep_freed_memory, usable_processors


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight threads of torch, chosen by nobody; as many as before afterwards."""
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def _cgroup(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_processors_are_those_that_a_control_group_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], most: int | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert usable_processors(_cgroup(tmp_path, files)) == (most or 64)


def test_processors_are_no_more_than_the_process_may_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_processors(_cgroup(tmp_path, {"cpu.max": "900000 100000"})) == 2


@pytest.mark.usefixtures("threads")
def test_torch_gets_a_thread_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "usable_processors", lambda: 3)
    assert (fit_threads(), torch.get_num_threads()) == (3, 3)


@pytest.mark.usefixtures("threads")
def test_torch_never_gets_more_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "usable_processors", lambda: 64)
    assert fit_threads() == 8


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_who_chose_the_threads_keeps_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "8")
    monkeypatch.setattr(process, "usable_processors", lambda: 3)
    assert fit_threads() == 8


_FREEING = """
import ctypes, resource, sys
from petapter.process import LARGEST_KEPT, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
print(keep_freed_memory() if sys.argv[1] == "kept" else False)
for turn in range(6):
    if turn == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(LARGEST_KEPT - 2**20) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, LARGEST_KEPT - 2**20)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PAGES = 3 * 3 * 31 * 2**20 // 4096
"""Of three rounds of three blocks."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_was_freed_is_not_asked_for_again() -> None:
    kept, without = (_pages_asked_for(word) for word in ("kept", "without"))
    assert kept[0] == "True"
    assert int(kept[1]) < _PAGES / 100 < _PAGES / 2 < int(without[1])


def _pages_asked_for(word: str) -> list[str]:
    """What `keep_freed_memory` said, and the page faults of three rounds of three blocks."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", _FREEING, word], check=True, capture_output=True, env=plain)
    return done.stdout.decode().split()


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_who_chose_what_is_kept_keeps_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "65536")
    assert not keep_freed_memory()


def test_other_systems_keep_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: object())  # as musl's
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
