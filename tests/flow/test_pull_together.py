"""Sixteen processes that pull one module at once."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cutting_proxy import proxied
from tests.registry_process import BIN, Server
from tests.schemas.tiny_module import TinyModule, put_file

Run = Callable[..., subprocess.CompletedProcess[str]]
PROCESSES = 16


@pytest.mark.slow  # sixteen interpreters start on two cores
def test_sixteen_pulls_at_once_leave_one_good_copy(
    petapter: Run, registry: Server, token: str, home: dict[str, str], tiny_module: TinyModule, tmp_path: Path
) -> None:
    module = put_file(tiny_module(tmp_path / "m"), "notes.txt", b"every line alike\n" * 40_000)
    petapter("push", module, "team/wanted-by-all")
    with proxied(registry.url) as proxy:
        petapter("remote", "add", "crowd", proxy.url)
        petapter("login", "crowd", "--token", token)
        command = [BIN / "petapter", "pull", "crowd:team/wanted-by-all", "--json"]
        started = [
            subprocess.Popen(command, env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        ended = [(process.communicate(timeout=300), process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * PROCESSES, ended
    assert {
        line for (_, problems), _ in ended for line in problems.splitlines() if "is at work in" not in line
    } == set()
    pulled = [json.loads(shown) for (shown, _), _ in ended]
    (directory,) = {each["directory"] for each in pulled}
    assert [each["was_cached"] for each in pulled].count(False) == 1
    assert len(proxy.ranges("notes.txt")) == 1
    for path in module.iterdir():
        assert (Path(directory) / path.name).read_bytes() == path.read_bytes()
    beside = {path.name for path in Path(directory).parent.iterdir()}
    assert beside == {Path(directory).name, f"{Path(directory).name}.checked", "refs.json", ".lock"}
    assert '"is_whole": true' in petapter("verify", "crowd:team/wanted-by-all", "--json").stdout
