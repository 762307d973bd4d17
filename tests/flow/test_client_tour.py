"""Every verb of remotes and of the cache, each as a process of its own against a registry process."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry_process import Server
from tests.schemas.tiny_module import build_tiny_module

pytestmark = pytest.mark.slow  # some forty processes

Run = Callable[..., subprocess.CompletedProcess[str]]
Shown = Callable[..., Any]
REFUSED, USAGE, NOT_FOUND, NOT_ALLOWED, UNFIT_MODULE, CONFLICT = 1, 2, 4, 5, 6, 7


@pytest.fixture(scope="module")
def shown(petapter: Run) -> Shown:
    """Runs a command with --json and returns what it shows; nothing else may come."""

    def run_with_json(*arguments: str | Path) -> Any:
        done = petapter(*arguments, "--json")
        assert done.stderr == ""
        return json.loads(done.stdout)

    return run_with_json


@pytest.fixture(scope="module")
def published(petapter: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of team/tour, by version."""
    folder = tmp_path_factory.mktemp("tour")
    made = {version: build_tiny_module(folder / version, version=version) for version in ("1.0.0", "1.1.0")}
    for version, directory in made.items():
        assert petapter("push", directory, "team/tour", "-q").stdout == f"lab:team/tour@v{version}\n"
    return made


def test_remotes(petapter: Run, shown: Shown, registry: Server) -> None:
    petapter("remote", "add", "second", registry.url)
    assert [remote["name"] for remote in shown("remote", "list") if remote["url"] == registry.url][:2] == [
        "lab",
        "second",
    ]
    assert shown("remote", "default", "second")["name"] == "second"
    assert shown("remote", "default", "lab")["name"] == "lab"
    petapter("remote", "remove", "second")
    assert "second" not in petapter("remote", "list").stdout


def test_login_whoami_and_logout(petapter: Run, shown: Shown, registry: Server, token: str) -> None:
    petapter("remote", "add", "third", registry.url)
    petapter("whoami", "third", code=NOT_ALLOWED)
    petapter("login", "third", "--token", "wrong", code=NOT_ALLOWED)
    assert shown("login", "third", "--token", token)["user"] == "ada"
    assert shown("whoami", "third")["user"] == "ada"
    assert shown("logout", "third") == {"remote": "third", "was_logged_in": True, "left": None}
    assert petapter("whoami", "third", code=NOT_ALLOWED, env={"PETAPTER_TOKEN_THIRD": "wrong"}).stderr.count("\n") == 1
    assert petapter("whoami", env={"PETAPTER_REMOTE": "third", "PETAPTER_TOKEN": token}).stdout.startswith(
        "ada on third"
    )
    petapter("remote", "remove", "third")


def test_push_search_info_and_pull(petapter: Run, shown: Shown, published: dict[str, Path], tmp_path: Path) -> None:
    assert shown("push", published["1.1.0"], "team/tour")["was_there"]
    petapter("push", published["1.0.0"], "team/tour", "--version", "0.9.0", code=CONFLICT)
    assert "lab:team/tour" in petapter("search", "tour", "-q").stdout.split()
    assert shown("info", "team/tour")["reference"] == "lab:team/tour@v1.1.0"
    pulled = shown("pull", "team/tour", "--out", tmp_path / "copy")
    assert (pulled["version"], pulled["backbone"]["verdict"]) == ("1.1.0", "warn")
    assert (tmp_path / "copy" / "petapter.json").read_bytes() == (published["1.1.0"] / "petapter.json").read_bytes()
    petapter("pull", "team/tour", "--out", tmp_path / "copy", code=REFUSED)
    petapter("pull", "team/turo", code=NOT_FOUND)
    petapter("pull", code=USAGE)


def test_safe_pushes_and_differences(petapter: Run, shown: Shown, tmp_path: Path) -> None:
    first = build_tiny_module(tmp_path / "first", version="0.1.0")
    plan = shown("push", first, "team/safe", "--dry-run")
    assert (plan["step"], plan["makes_repository"]) == ("commit", True)
    assert "team/safe" not in petapter("search", "safe", "-q").stdout
    petapter("push", first, "team/safe", "-q")
    assert "nothing to do" in petapter("push", first, "team/safe", "--bump", "minor").stdout
    second = build_tiny_module(tmp_path / "second", version="0.1.0", labels=("a", "c"))
    assert petapter("push", second, "team/safe", "--bump", "minor", "-q").stdout == "lab:team/safe@v0.2.0\n"
    assert json.loads((second / "petapter.json").read_text())["version"] == "0.1.0"
    found = shown("diff", "team/safe@v0.1.0", "team/safe@v0.2.0")
    assert {each["path"] for each in found["fields"]} == {"version", "task.labels.1.name"}
    assert {each["change"] for each in found["weights"]} == {0.0}
    petapter("diff", "team/safe@v0.1.0", "team/safe@v0.3.0", code=NOT_FOUND)


def test_yanks_and_channels(petapter: Run, shown: Shown, published: dict[str, Path]) -> None:
    assert published
    petapter("yank", "team/tour@v1.1.0", "--reason", "a test")
    assert shown("info", "team/tour")["reference"] == "lab:team/tour@v1.0.0"
    petapter("unyank", "team/tour@v1.1.0")
    petapter("channel", "set", "team/tour@v1.0.0", "stable")
    assert shown("pull", "team/tour@stable")["version"] == "1.0.0"
    assert {channel["name"] for channel in shown("channel", "list", "team/tour")["channels"]} == {"latest", "stable"}
    assert "did you mean 'stable'?" in petapter("pull", "team/tour@stabel", code=NOT_FOUND).stderr
    petapter("channel", "remove", "team/tour", "stable")


def test_keys_signatures_and_policies(petapter: Run, shown: Shown, published: dict[str, Path]) -> None:
    assert shown("keys", "new", "tour")["name"] == "tour"
    assert [key["name"] for key in shown("keys", "list")["own"]] == ["tour"]
    petapter("remote", "policy", "--allow", "team/tour=tour")
    try:
        petapter("pull", "team/tour@v1.0.0", code=UNFIT_MODULE)
        assert shown("sign", published["1.0.0"], "team/tour", "--key", "tour")["reference"] == "lab:team/tour@v1.0.0"
        assert shown("pull", "team/tour@v1.0.0")["version"] == "1.0.0"
        (found,) = shown("verify", "team/tour@v1.0.0", "--signed")
        assert [signature["verdict"] for signature in found["signatures"]] == ["trusted"]
        petapter("keys", "revoke", "tour", "--reason", "a test")
        petapter("pull", "team/tour@v1.0.0", code=UNFIT_MODULE)
    finally:
        petapter("remote", "policy", "--disallow", "team/tour")
        petapter("keys", "remove", "tour", "--yes")
    assert not shown("remote", "policy")["asks_for_signatures"]


def test_cache(petapter: Run, shown: Shown, published: dict[str, Path]) -> None:
    for version in published:
        petapter("pull", f"team/tour@v{version}", "-q")
    cached = {module["reference"]: module for module in shown("list") if module["repo_id"] == "team/tour"}
    assert set(cached) == {"lab:team/tour@v1.0.0", "lab:team/tour@v1.1.0"}
    assert [one["is_whole"] for one in shown("verify", "team/tour")] == [True, True]
    head = Path(cached["lab:team/tour@v1.1.0"]["directory"]) / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    petapter("verify", "team/tour@v1.1.0", code=UNFIT_MODULE)
    petapter("pull", "team/tour@v1.1.0")
    head.write_bytes(head.read_bytes()[:-1])
    petapter("verify", "team/tour@v1.1.0", "--repair")
    assert head.read_bytes() == (published["1.1.0"] / "head.safetensors").read_bytes()
    petapter("remove", "team/tour@v1.0.0", code=REFUSED)
    assert len(shown("remove", "team/tour@v1.0.0", "--yes")["removed"]) == 1
    assert [module["version"] for module in shown("list") if module["repo_id"] == "team/tour"] == ["1.1.0"]
