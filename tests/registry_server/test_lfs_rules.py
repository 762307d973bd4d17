"""`.gitattributes` says what goes to LFS: at the wire, and by the real client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from petapter_registry_server.services.lfs_rules import read_lfs_rules
from tests.registry_process import Hub, new_token, serving
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.module_bytes import safetensors

RULES = """# large things
*.safetensors filter=lfs diff=lfs merge=lfs -text
heads/*.safetensors -filter
*.csv text
/top.txt filter=lfs
"two words/*" filter=lfs
plots/*.png filter=lfs !filter
*.json filter=other
[z-a] filter=lfs
!*.md filter=lfs
"""
WEIGHTS = safetensors({"weight": (2, 3)})


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("a.safetensors", True),
        ("deep/down/a.safetensors", True),
        ("heads/a.safetensors", False),
        ("a.csv", False),
        ("top.txt", True),
        ("deep/top.txt", False),
        ("two words/a.txt", True),
        ("plots/a.png", False),
        ("a.json", False),
        ("README.md", False),
    ],
)
def test_rules_are_read_as_git_reads_them(path: str, goes: bool) -> None:
    assert read_lfs_rules(RULES)(path) is goes


@pytest.mark.parametrize("rules", ["", "*.txt", '"open filter=lfs', "[z-a] filter=lfs", "*.txt filter=lfs\n" * 5000])
def test_what_is_no_rule_or_too_long_steers_nothing(rules: str) -> None:
    assert not read_lfs_rules(rules)("a.txt")


def modes(caller: Caller, *paths: str, size: int = 9) -> dict[str, str]:
    files = [{"path": path, "size": size, "sample": ""} for path in paths]
    answer = caller.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files})
    assert answer.status_code == 200, answer.text
    return {file["path"]: file["uploadMode"] for file in answer.json()["files"]}


def test_attributes_of_the_branch_decide_from_the_next_upload_on(team: Caller) -> None:
    assert modes(team, "a.safetensors") == {"a.safetensors": "regular"}
    team.published("team/tickets", {".gitattributes": RULES.encode()})
    assert modes(team, "a.safetensors", "a.txt") == {"a.safetensors": "lfs", "a.txt": "regular"}
    assert modes(team, "a.safetensors", size=0) == {"a.safetensors": "regular"}


def test_file_that_came_inside_a_commit_is_known_by_its_sha256_once_it_is_for_lfs(team: Caller) -> None:
    team.published("team/tickets", {".gitattributes": RULES.encode(), "a.safetensors": WEIGHTS})
    (entry,) = [e for e in team.get("/api/models/team/tickets/tree/main").json() if e["path"] == "a.safetensors"]
    files = [{"path": "a.safetensors", "size": len(WEIGHTS), "sample": ""}]
    answer = team.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files}).json()["files"][0]
    assert (answer["uploadMode"], answer["oid"] != entry["oid"], len(answer["oid"])) == ("lfs", True, 64)


def test_attributes_whose_bytes_are_lost_can_be_pushed_again(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {".gitattributes": RULES.encode()})
    registry.damage(RULES.encode(), b"other")
    assert modes(team, ".gitattributes") == {".gitattributes": "regular"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("lfs_rules")
    with serving(home / "data") as server:
        yield Hub(server, home, new_token(home / "data"))


def test_hf_upload_sends_a_short_file_apart_where_the_attributes_say_so(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".gitattributes").write_text(RULES)
    assert hub.hf("upload", "team/ruled", folder, ".").returncode == 0
    (folder / "a.safetensors").write_bytes(WEIGHTS)
    (folder / "a.txt").write_text("short")
    up = hub.hf("upload", "team/ruled", folder, ".")
    assert up.returncode == 0, up.stderr
    script = "from huggingface_hub import HfApi; i = HfApi().model_info('team/ruled', files_metadata=True)\n"
    script += "print(*sorted(s.rfilename for s in i.siblings if s.lfs))"
    assert hub.python(script).stdout.split() == ["a.safetensors"]
