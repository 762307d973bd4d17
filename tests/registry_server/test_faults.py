"""kill -9 in the middle of pushes; `tests/benchmarks/registry_faults.py` does the same a thousand times."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_no_kill_loses_or_halves_a_version() -> None:
    command = [sys.executable, "tests/benchmarks/registry_faults.py", "--kills", "36", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kills, acknowledged = (int(part.split()[0]) for part in done.stdout.split(", ")[:2])
    assert kills == 36
    assert acknowledged >= kills
    assert "0 of them lost, 0 partial" in done.stdout
