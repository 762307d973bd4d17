"""The real parts of the walk: a registry process, the command line in a clean home, the real backbone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.registry_process import BIN, Server, new_token, serving
from tests.tour.warm_petapter import warm_programs

ROOT = Path(__file__).parents[2]
DEMO_DATA = ROOT / "hub_client" / "petapter_hub_client" / "demo" / "data"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has nothing configured and nothing cached."""
    folder = tmp_path_factory.mktemp("home")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PETAPTER_", "HUGGING"))}
    return kept | {
        "HF_HOME": str(folder / "hf"),
        "HF_XET_CACHE": str(folder / "xet"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "PETAPTER_CACHE_DIR": str(folder / "cache"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",  # the developer's own is left alone
        "PETAPTER_CONFIG_DIR": str(folder / "config"),
    }


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("registry") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def token(registry: Server) -> str:
    return new_token(registry.data)


@pytest.fixture(scope="session")
def run(home: dict[str, str]) -> Run:
    """Runs a program of this environment: `run("petapter", "info", …, code=0, env={…})`."""

    def run_program(
        name: str | Path, *arguments: str | Path, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / name), *map(str, arguments)]  # a whole path stays what it is
        done = subprocess.run(
            command, env=home | (env or {}), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert done.returncode == code, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run_program


@pytest.fixture(scope="session")
def logged_in(run: Run, registry: Server, token: str) -> None:
    """The registry is the default remote of the home, and its token is there."""
    run("petapter", "remote", "add", "lab", registry.url, "--default")
    run("petapter", "login", "lab", "--token", token)


@pytest.fixture(scope="session")
def cold_petapter(run: Run, logged_in: None) -> Run:
    """The command line as it is installed, for tests of what its libraries read when they are imported."""
    return partial(run, "petapter")


@pytest.fixture(scope="session")
def petapter(
    run: Run, logged_in: None, home: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """The command line: each call is a process of its own, forked from one that has imported torch already."""
    with warm_programs(tmp_path_factory.mktemp("warm") / "programs", home) as programs:
        yield partial(run, programs / "petapter")


@pytest.fixture(scope="session")
def hub_environment(registry: Server, token: str) -> dict[str, str]:
    """What a user of `hf`, peft or transformers sets to work with the registry."""
    return {"HF_ENDPOINT": registry.url, "HF_TOKEN": token}


@pytest.fixture(scope="session")
def minilm(run: Run, home: dict[str, str]) -> Path:
    """The built-in backbone as the command line builds it."""
    script = "from petapter_hub_client.backbones import resolve_backbone; print(resolve_backbone('minilm').directory)"
    return Path(run(Path(sys.executable).name, "-c", script, env=home).stdout.strip())


@pytest.fixture(scope="session")
def trained(petapter: Run, minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module trained briefly on SNIPS with the real backbone."""
    out = tmp_path_factory.mktemp("modules") / "snips"
    petapter(
        "train", DEMO_DATA / "snips" / "train.csv", "--task", DEMO_DATA / "snips" / "task.yaml", "--out", out,
        "--language", "en", "--license", "CC0-1.0", "--preset", "plain", "--steps", "40",
        "--test", DEMO_DATA / "snips" / "test.csv", "--test-name", "snips",
    )  # fmt: skip
    return out
