"""How many threads torch gets, in control groups of both versions."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from petapter import processors
from petapter.processors import fit_threads, usable_processors


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
    monkeypatch.setattr(processors, "usable_processors", lambda: 3)
    assert (fit_threads(), torch.get_num_threads()) == (3, 3)


@pytest.mark.usefixtures("threads")
def test_torch_never_gets_more_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "usable_processors", lambda: 64)
    assert fit_threads() == 8


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_who_chose_the_threads_keeps_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "8")
    monkeypatch.setattr(processors, "usable_processors", lambda: 3)
    assert fit_threads() == 8
