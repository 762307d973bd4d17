"""How many states a power cut may leave a registry in, and in how many of them it breaks a promise.

python -m tests.benchmarks.registry_power_cuts --pushes 60
"""

import argparse
import tempfile
from pathlib import Path

import structlog

from petapter_registry_server.settings import Settings
from tests.registry_server.conftest import member_of_team, running
from tests.registry_server.module_bytes import module_files
from tests.registry_server.power_cut import recorded, states


def main() -> None:
    """Record pushes of new modules, cut after every operation, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=60)
    pushes = parser.parse_args().pushes
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    operations = counted = broken = 0
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        with running(Settings(data=data, gc_interval_s=0)) as registry:
            team = member_of_team(registry)
            for number in range(pushes):
                with recorded(data, Path(place) / f"snapshots-{number}") as recording:
                    team.published("team/tickets", module_files(fill=float(number)))
                found = [bool(state.problems()) for state in states(recording)]
                operations += len(recording.events)
                counted += len(found)
                broken += sum(found)
    print(f"{pushes} pushes, {operations} operations, {counted} states after a power cut, {broken} of them broken")


if __name__ == "__main__":
    main()
