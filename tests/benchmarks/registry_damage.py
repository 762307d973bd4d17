"""Stored bytes that are damaged behind the registry's back: whether every pull and every scrub finds them.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.registry_damage [--damages 500] [--seed 0]

A round damages one file of each of 25 modules: a bit is flipped, the end cut off, all set to zero, or the file deleted.
`petapter`'s pull of each must then fail; a scrub must name exactly the damaged blobs; the module, pushed again, must be
pulled whole. Prints a line and ends with 1 when that does not hold.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from petapter_hub_client.fetching import pull
from petapter_hub_client.remotes import add_remote
from petapter_registry_server.db.engine import Database
from petapter_registry_server.services.scrubbing import Damage, Scrubbing
from petapter_registry_server.storage.digest_names import blob_name
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.errors import PetapterError
from tests.benchmarks.registry_fixture import Place, make_repository, registry
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files
from tests.registry_server.test_scrubbing import HARMS

MODULES = 25
OWN_FILES = ("petapter.json", "head.safetensors", "adapter_model.safetensors")
"""Files whose bytes no other module has, so that each damage is one of its own."""


@dataclass
class Tally:
    """What was damaged, and what did not find it."""

    damages: int = 0
    missed_by_pull: int = 0
    missed_by_scrub: int = 0
    false_alarms: int = 0
    not_healed: int = 0

    @property
    def is_good(self) -> bool:
        """Whether everything was found and healed, and nothing else was blamed."""
        return not (self.missed_by_pull or self.missed_by_scrub or self.false_alarms or self.not_healed)


class Round:
    """One round of damage over the modules of a registry."""

    def __init__(self, place: Place, modules: dict[str, dict[str, bytes]], chance: random.Random) -> None:
        self._place, self._modules, self._chance = place, modules, chance

    def run(self, client: httpx.Client, tally: Tally) -> None:
        """Damage, look, heal, look again."""
        harmed = {name: self._harm(files) for name, files in self._modules.items()}
        tally.damages += len(harmed)
        tally.missed_by_pull += sum(_can_be_pulled(name) for name in self._modules)
        found = {damage.sha256 for damage in _scrub(self._place.server.data)}
        tally.missed_by_scrub += len(set(harmed.values()) - found)
        tally.false_alarms += len(found - set(harmed.values()))
        for name, files in self._modules.items():
            client.post(f"/api/models/{name}/commit/main", content=commit_body(files)).raise_for_status()
        tally.not_healed += sum(not _can_be_pulled(name) for name in self._modules)

    def _harm(self, files: dict[str, bytes]) -> str:
        digest = sha256_bytes(files[self._chance.choice(OWN_FILES)])
        HARMS[self._chance.choice(list(HARMS))](self._place.server.data / "blobs" / blob_name(digest))
        return digest


def _can_be_pulled(name: str) -> bool:
    """Whether petapter takes the module as it is now, with a cache that knows nothing."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PETAPTER_CACHE_DIR"] = cache
        try:
            pull(f"bench:{name}")
        except PetapterError:
            return False
        return True


def _scrub(data: Path) -> list[Damage]:
    """What `petapter-registry scrub` finds beside the running server."""
    database = Database(data / "registry.sqlite")
    found: list[Damage] = []
    Scrubbing(database, LocalBlobStore(data)).run(found.append)
    database.close()
    return found


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, tally, chance = time.monotonic(), Tally(), random.Random(options.seed)  # noqa: S311 (a benchmark)
    with tempfile.TemporaryDirectory() as home, registry("sqlite") as place, place.client() as client:
        os.environ |= {"PETAPTER_CONFIG_DIR": home, "HF_HOME": home}
        add_remote("bench", place.server.url)
        modules = {f"bench/m{number}": module_files(fill=number + 1.0) for number in range(MODULES)}
        for name, files in modules.items():
            make_repository(client, name)
            client.post(f"/api/models/{name}/commit/main", content=commit_body(files)).raise_for_status()
        while tally.damages < options.damages:
            Round(place, modules, chance).run(client, tally)
    print(f"{tally}, {time.monotonic() - began:.0f} s")
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
