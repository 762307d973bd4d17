"""A registry that is killed again and again in the middle of pushes: how many versions were lost or are partial.

python tests/benchmarks/registry_faults.py [--kills 1000] [--seed 0]

Kills are SIGKILL: half of them at named places on the way of a commit, half at random moments of a push. After each one
the server is started again on the same directory, and what it shows is compared with what was pushed. Exit 1 when
anything acknowledged is lost or anything visible is partial. Run it from the repository's root.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.registry_server.faults import run_kills


def main() -> None:
    """Run and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        tally = run_kills(Path(place) / "data", asked.kills, asked.seed)
    print(
        f"{tally.kills} kills, {tally.acknowledged} versions acknowledged, {tally.lost} of them lost, "
        f"{tally.partial} partial, {time.monotonic() - began:.0f} s"
    )
    sys.exit(1 if tally.lost or tally.partial else 0)


if __name__ == "__main__":
    main()
