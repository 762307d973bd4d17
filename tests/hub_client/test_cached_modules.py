"""The cache: what is listed, removed and verified, and by how many at once."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.errors import CacheError
from tests.hub_client.conftest import Petapter, Registry, files_below
from tests.registry_process import BIN
from tests.schemas.tiny_module import TinyModule

DAY_S = 86400


@pytest.fixture
def pulled(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    """A module of which the versions 1.0.0 and 1.1.0 are in the cache."""
    for version in ("1.0.0", "1.1.0"):
        lab("push", tiny_module(tmp_path / version, version=version), repo_id)
        assert lab("pull", f"{repo_id}@v{version}").code == 0
    return repo_id


def listed(petapter: Petapter) -> dict[str, Any]:
    answer: Any = petapter("list", "--json").json
    return {module["reference"]: module for module in answer}


def break_head(module: dict[str, Any]) -> Path:
    """Change one byte without a trace in size or time."""
    head = Path(module["directory"]) / "head.safetensors"
    before, data = head.stat(), bytearray(head.read_bytes())
    data[-1] ^= 1
    head.write_bytes(data)
    os.utime(head, ns=(before.st_atime_ns, before.st_mtime_ns))
    return head


def test_list_tells_what_is_there(lab: Petapter, pulled: str, registry: Registry) -> None:
    modules = listed(lab)
    assert set(modules) == {f"lab:{pulled}@v1.0.0", f"lab:{pulled}@v1.1.0"}
    newer = modules[f"lab:{pulled}@v1.1.0"]
    assert (newer["version"], newer["backbone"], newer["url"]) == ("1.1.0", "acme/tiny-bert", registry.url)
    assert newer["state"] == "checked"
    assert newer["size_bytes"] == sum(path.stat().st_size for path in Path(newer["directory"]).iterdir())
    out = lab("list").out
    assert "just now" in out
    assert "2 modules" in out


def test_list_of_an_empty_cache_says_how_to_fill_it(petapter: Petapter) -> None:
    ran = petapter("list")
    assert (ran.code, ran.out) == (0, "")
    assert "petapter pull" in ran.err
    assert petapter("list", "--json").json == []


def test_quiet_list_is_one_reference_a_line(lab: Petapter, pulled: str) -> None:
    assert sorted(lab("list", "-q").out.split()) == [f"lab:{pulled}@v1.0.0", f"lab:{pulled}@v1.1.0"]


def test_module_of_a_forgotten_remote_is_listed_with_its_address(
    lab: Petapter, pulled: str, registry: Registry
) -> None:
    lab("remote", "remove", "lab")
    assert f"{registry.url}/{pulled}@v1.0.0" in listed(lab)


def test_changed_file_is_seen_without_hashing(lab: Petapter, pulled: str) -> None:
    head = Path(listed(lab)[f"lab:{pulled}@v1.0.0"]["directory"]) / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1])
    assert listed(lab)[f"lab:{pulled}@v1.0.0"]["state"] == "changed"


def test_use_is_noted(lab: Petapter, pulled: str) -> None:
    old = Path(listed(lab)[f"lab:{pulled}@v1.0.0"]["directory"])
    os.utime(old, (time.time() - 40 * DAY_S,) * 2)
    assert "40 days ago" in lab("list").out
    lab("pull", f"{pulled}@v1.0.0")
    assert "40 days ago" not in lab("list").out


def test_verify_finds_what_no_look_at_sizes_and_times_would(lab: Petapter, pulled: str) -> None:
    good, broken = (listed(lab)[f"lab:{pulled}@v1.{minor}.0"] for minor in (0, 1))
    break_head(broken)
    ran = lab("verify", "--json")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert ran.error.endswith(f"1 of 2 cached modules are broken: run 'petapter pull lab:{pulled}@v1.1.0'")
    found: Any = ran.json
    by_reference = {one["reference"]: one for one in found}
    assert by_reference[good["reference"]]["is_whole"]
    bad = by_reference[broken["reference"]]
    assert "head.safetensors was changed" in bad["problem"]
    assert (Path(bad["quarantine"]) / "head.safetensors").is_file()
    assert not Path(broken["directory"]).exists()
    assert set(listed(lab)) == {good["reference"]}


def test_verify_repairs(lab: Petapter, pulled: str, tmp_path: Path) -> None:
    head = break_head(listed(lab)[f"lab:{pulled}@v1.1.0"])
    ran = lab("verify", "--repair", f"{pulled}@v1.1.0")
    assert ran.code == 0, ran
    assert "fetched again" in ran.err
    assert head.read_bytes() == (tmp_path / "1.1.0" / "head.safetensors").read_bytes()


def test_verify_that_cannot_repair_says_why(lab: Petapter, pulled: str, offline: Callable[[], None]) -> None:
    break_head(listed(lab)[f"lab:{pulled}@v1.1.0"])
    offline()
    ran = lab("verify", "--repair")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "could not be fetched again" in ran.err


def test_verify_of_a_good_cache(lab: Petapter, pulled: str) -> None:
    ran = lab("verify")
    assert (ran.code, ran.out.count("every byte is right")) == (0, 2)


def test_remove_asks_and_without_a_terminal_refuses(lab: Petapter, pulled: str) -> None:
    assert "give --yes" in lab("remove", f"{pulled}@v1.0.0").error
    assert len(listed(lab)) == 2


def test_remove_of_a_version(lab: Petapter, pulled: str) -> None:
    assert "removed 1 module" in lab("remove", f"{pulled}@v1.0.0", "--yes").out
    assert set(listed(lab)) == {f"lab:{pulled}@v1.1.0"}


def test_remove_of_a_module_takes_all_versions(lab: Petapter, pulled: str, tmp_path: Path) -> None:
    removed: Any = lab("remove", pulled, "--yes", "--json").json
    assert len(removed["removed"]) == 2
    assert not [
        name for name in files_below(tmp_path / "cache") if "refs.json" not in name and "remote.json" not in name
    ]
    assert lab("pull", pulled).code == 0


def test_remove_of_what_was_not_used_for_long(lab: Petapter, pulled: str) -> None:
    os.utime(listed(lab)[f"lab:{pulled}@v1.0.0"]["directory"], (time.time() - 40 * DAY_S,) * 2)
    lab("remove", "--older-than", "30d", "--yes")
    assert set(listed(lab)) == {f"lab:{pulled}@v1.1.0"}


def test_remove_that_means_none_says_so(lab: Petapter, pulled: str) -> None:
    assert pulled
    assert "nothing was removed" in lab("remove", "--older-than", "30d", "--yes").out


def test_remove_all_takes_leftovers_too(lab: Petapter, pulled: str, tmp_path: Path) -> None:
    break_head(listed(lab)[f"lab:{pulled}@v1.1.0"])
    lab("verify")
    parts = Path(listed(lab)[f"lab:{pulled}@v1.0.0"]["directory"]).parent / ".parts"
    parts.mkdir()
    (parts / ("0" * 64)).write_bytes(b"half a file")
    assert "unfinished pulls and broken modules" in lab("remove", "--all", "--yes").out
    assert [name for name in files_below(tmp_path / "cache") if name.endswith(("tensors", "0" * 64))] == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "say what to remove"),
        (("team/x", "--all"), "say what to remove"),
        (("--older-than", "soon"), "is no age"),
        (("team/x",), "not in the cache"),
    ],
)
def test_remove_that_cannot_be_meant_is_refused(lab: Petapter, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in lab("remove", "--yes", *arguments).error


def test_misspelt_cached_module_gets_the_nearest_name(lab: Petapter, pulled: str) -> None:
    assert f"did you mean 'lab:{pulled}@v1." in lab("remove", pulled[:-1], "--yes").error


def test_verify_remove_and_pull_at_once_leave_whole_modules(lab: Petapter, pulled: str) -> None:
    """Each of them ends well or says in a line that the module was just taken from under it."""
    commands = [("verify", "--repair"), ("remove", pulled, "--yes"), ("pull", pulled), ("pull", pulled), ("list",)]
    started = [
        subprocess.Popen([BIN / "petapter", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in started:
        _, problems = process.communicate(timeout=120)
        assert "Traceback" not in problems
        assert process.returncode in {0, ExitCode.REFUSED, ExitCode.UNFIT_MODULE}, problems
    assert lab("pull", pulled).code == 0
    assert lab("verify").code == 0


def test_python_functions_do_the_same(lab: Petapter, pulled: str) -> None:
    (module,) = hub.find_cached(f"lab:{pulled}@v1.1.0")
    assert repr(module) == f"CachedModule('lab:{pulled}@v1.1.0', {module.size_bytes:,} bytes, checked)"
    assert [each.problem for each in hub.verify_cached(hub.list_cached())] == [None, None]
    hub.remove_cached([module])
    assert [each.version for each in hub.list_cached()] == ["1.0.0"]


def test_cache_whose_place_is_a_file_is_one_line(lab: Petapter, pulled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETAPTER_CACHE_DIR", "/dev/null/cache")
    assert "/dev/null" in lab("pull", pulled).error
    with pytest.raises((CacheError, OSError)):
        hub.pull(f"lab:{pulled}")
