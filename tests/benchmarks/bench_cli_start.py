"""How long `petapter --help` takes beside an empty Python: prints both and their ratio, side by side in one run.

python tests/benchmarks/bench_cli_start.py
"""

import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 11
PETAPTER = str(Path(sys.executable).parent / "petapter")


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    empty, helped = [], []
    for _ in range(ROUNDS + 1):
        empty.append(seconds([sys.executable, "-c", "pass"]))
        helped.append(seconds([PETAPTER, "--help"]))
    base, ours = sorted(empty[1:])[ROUNDS // 2], sorted(helped[1:])[ROUNDS // 2]
    print(f"python -c pass   {base:.3f} s (median of {ROUNDS})")
    print(f"petapter --help  {ours:.3f} s, {ours / base:.1f}x; the goal is 3x + 0.2 s = {3 * base + 0.2:.3f} s")


if __name__ == "__main__":
    main()
