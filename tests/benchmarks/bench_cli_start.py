"""What `petapter --help` costs beside an empty Python: prints processor and wall time and the ratio, in one run.

python tests/benchmarks/bench_cli_start.py
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 11
GOAL_CPU_S = 0.35
PETAPTER = str(Path(sys.executable).parent / "petapter")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "petapter --help": [PETAPTER, "--help"],
    "petapter search --help": [PETAPTER, "search", "--help"],
    "petapter list": [PETAPTER, "list"],
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Processor time of the process, and wall time."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - started


def main() -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):  # the first fills the caches
        for name, command in COMMANDS.items():
            found[name].append(seconds(command))
    base = sorted(cpu for cpu, _ in found["python -c pass"][1:])[ROUNDS // 2]
    print(f"least and median of {ROUNDS}; the goal for --help is {GOAL_CPU_S} s of processor time")
    for name, times in found.items():
        cpu, wall = (sorted(values)[ROUNDS // 2] for values in zip(*times[1:], strict=True))
        least = min(cpu for cpu, _ in times[1:])
        print(f"{name:<24} {least:.3f} to {cpu:.3f} s processor, {wall:.3f} s wall, {cpu / base:.1f}x")


if __name__ == "__main__":
    main()
