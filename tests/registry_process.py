"""Starts a registry as its administrator would and stops it by its process; shared by all tests that need one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PROGRAMS = Path(sys.executable).parent
START_TIMEOUT_S = 60
_POLL_S = 0.05


@dataclass(frozen=True)
class RunningRegistry:
    """A registry process: where it answers, its first admin token (None on a later start), and its process."""

    url: str
    token: str | None
    process: subprocess.Popen[str]
    log: Path


@contextmanager
def running_registry(data: Path, *, programs: Path = PROGRAMS) -> Iterator[RunningRegistry]:
    """A registry on a free loopback port over a data directory, stopped afterwards."""
    data.parent.mkdir(parents=True, exist_ok=True)
    log, port_file = data.parent / f"{data.name}.log", data.parent / f"{data.name}.port"
    port_file.unlink(missing_ok=True)
    command = [programs / "petapter-registry", "serve", "--data", data, "--port", "0", "--port-file", port_file]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
    try:
        url = _wait(process, port_file, log)
        words = log.read_text(encoding="utf-8").split()
        token = next((word for word in words if word.startswith("ppt_")), None)
        yield RunningRegistry(url, token, process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[str], port_file: Path, log: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            url = f"http://127.0.0.1:{int(port_file.read_text(encoding='utf-8'))}"
            httpx.get(f"{url}/health").raise_for_status()
        except (OSError, ValueError, httpx.HTTPError):
            time.sleep(_POLL_S)
        else:
            return url
    raise RuntimeError(f"the registry did not start: {log.read_text(encoding='utf-8')}")
