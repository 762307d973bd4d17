"""The wheel as a user installs it: bare for the client, [server] for the registry, both without torch."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.registry_process import Server, new_token, serving

ROOT = Path(__file__).parents[2]
PACKAGES = {"petapter", "petapter_schemas", "petapter_hub_client", "petapter_registry_server"}

pytestmark = pytest.mark.slow

TinyModule = Callable[..., Path]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return next(out.glob("*.whl"))


def install(wheel: Path, extra: str, environment: Path) -> Path:
    """Make an environment with the wheel and return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    programs = environment / "bin"
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--constraint", ROOT / "constraints.txt", f"{wheel}{extra}"],
        check=True,
    )  # fmt: skip
    return programs


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, "", tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, "[server]", tmp_path_factory.mktemp("server"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "PETAPTER_CONFIG_DIR": str(tmp_path / "config"),
        "PETAPTER_CACHE_DIR": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_XET_CACHE": str(tmp_path / "xet"),
    }


@pytest.fixture
def registry(server: Path, tmp_path: Path) -> Iterator[Server]:
    """A registry process of the [server] installation."""
    with serving(tmp_path / "data", programs=server) as running:
        yield running


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_holds_the_backbone_parts_and_the_demo_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "petapter/assets/minilm_mlm/mlm_head.safetensors" in names
    assert "petapter_hub_client/demo/data/snips/train.csv" in names


@pytest.mark.parametrize("program", ["bare", "server"])
def test_neither_installation_brings_torch(program: str, request: pytest.FixtureRequest) -> None:
    programs: Path = request.getfixturevalue(program)
    script = "import importlib.util as u, json; print(json.dumps([n for n in ('torch', 'peft') if u.find_spec(n)]))"
    found = subprocess.run([programs / "python", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


def test_training_without_torch_says_what_to_install(bare: Path, environment: dict[str, str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\ngood,a\nbad,b\n")
    command = [bare / "petapter", "train", rows, "--out", tmp_path / "out", "--pattern", "{mask}: {text}",
               "--label", "a=good", "--label", "b=bad"]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "petapter[train]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_bare_client_pushes_finds_and_pulls_without_torch(
    bare: Path, registry: Server, environment: dict[str, str], tmp_path: Path, tiny_module: TinyModule
) -> None:
    def petapter(*arguments: str | Path) -> str:
        command = [bare / "petapter", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    petapter("remote", "add", "lab", registry.url, "--default")
    petapter("login", "lab", "--token", new_token(registry.data))
    petapter("push", tiny_module(tmp_path / "tiny", labels=("apple", "pear")), "team/tiny")
    assert "team/tiny" in petapter("search", "--label", "pear", "--json")
    assert json.loads(petapter("pull", "team/tiny", "--json"))
