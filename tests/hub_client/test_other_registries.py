"""Registries of another age: our own server without its native routes, and one whose native API has another version."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.hub_client.conftest import Petapter
from tests.registry_process import new_token, serving
from tests.schemas.tiny_module import TinyModule

OLDER = """
from petapter_registry_server import api
from petapter_registry_server.api import modules
api.PARTS = tuple(part for part in api.PARTS if part not in modules.PARTS)
"""
NEWER = """
from petapter_registry_server.api import native_mark
native_mark.API_VERSION = "2"
"""
PROGRAM = """#!{python}
{change}
from petapter_registry_server.cli import main
main()
"""


@pytest.fixture(scope="module", params=[OLDER, NEWER], ids=["older", "newer"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, bool]]:
    """Address, token, and whether it is the newer one."""
    folder = tmp_path_factory.mktemp("other")
    program = folder / "petapter-registry"
    program.write_text(PROGRAM.format(python=sys.executable, change=request.param))
    program.chmod(0o755)
    with serving(folder / "data", programs=folder) as server:
        yield server.url, new_token(server.data), request.param == NEWER


@pytest.fixture
def lab(petapter: Petapter, other: tuple[str, str, bool]) -> Petapter:
    url, token, _ = other
    petapter("remote", "add", "lab", url, "--default")
    assert petapter("login", "lab", "--token", token).code == 0
    return petapter


@pytest.fixture
def pushed(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    for version in ("1.0.0", "1.1.0"):
        ran = lab("push", tiny_module(tmp_path / version, version=version, labels=("glad", "sad")), repo_id)
        assert ran.code == 0, ran
    return repo_id


def test_pull_takes_the_newest_version_and_says_what_it_cannot_see(
    lab: Petapter, pushed: str, other: tuple[str, str, bool]
) -> None:
    ran = lab("pull", pushed, "--json")
    pulled: Any = ran.json
    assert pulled["version"] == "1.1.0"
    warnings = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == (1 if other[2] else 0)
    if other[2]:
        assert "speaks version 2 of the native API, and this petapter speaks version 1" in warnings[0]
        assert "yanks and channels" in warnings[0]


def test_search_falls_back_to_the_tags_of_model_cards(lab: Petapter, pushed: str, other: tuple[str, str, bool]) -> None:
    ran = lab("search", pushed.partition("/")[2], "--label", "glad", "--min-metric", "accuracy>=0.7", "--json")
    found: Any = ran.json
    assert [module["reference"] for module in found] == [f"lab:{pushed}"]
    assert found[0]["metrics"][0]["value"] == pytest.approx(0.75)
    assert ("only names and the tags of model cards are searched" in ran.err) == other[2]
    assert lab("search", pushed.partition("/")[2], "--label", "furious", "--json").json == []


@pytest.mark.parametrize(
    "command",
    [
        ("yank", "{}@v1.0.0", "--reason", "x"),
        ("channel", "list", "{}"),
        ("search", "--label", "glad", "--label-match", "exact"),
    ],
    ids=" ".join,
)
def test_what_it_cannot_do_is_one_line(
    lab: Petapter, pushed: str, other: tuple[str, str, bool], command: tuple[str, ...]
) -> None:
    ran = lab(*(word.format(pushed) for word in command))
    assert ran.code == ExitCode.REMOTE_FAILED
    expected = "upgrade the older of the two" if other[2] else "is no petapter registry, or an older one"
    assert expected in ran.error


def test_signatures_and_policies_need_the_hubs_protocol_alone(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    assert lab("keys", "new", "ada").code == 0
    assert lab("remote", "policy", "lab", "--require-signature").code == 0
    assert lab("pull", f"{pushed}@v1.0.0").code == ExitCode.UNFIT_MODULE
    assert lab("sign", tmp_path / "1.0.0", f"lab:{pushed}").code == 0
    assert lab("pull", f"{pushed}@v1.0.0").code == 0
