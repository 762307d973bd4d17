"""`.gitignore` keeps files at home when somebody uploads: at the wire, and by the real client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.errors import InvalidRequestError
from petapter_registry_server.services.ignoring import read_ignore_rules
from tests.registry_process import Hub, new_token, serving
from tests.registry_server.conftest import Caller, Registry

RULES = "# notes\n*.txt\n!keep.txt\n/runs/\n"


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("a.txt", True),
        ("deep/down/a.txt", True),
        ("keep.txt", False),
        ("deep/keep.txt", False),
        ("runs/1.json", True),
        ("deep/runs/1.json", False),
        ("a.json", False),
        (".gitignore", False),
    ],
)
def test_rules_are_read_as_git_reads_them(path: str, ignored: bool) -> None:
    assert read_ignore_rules(RULES)(path) is ignored


@pytest.mark.parametrize(("rules", "line"), [("*.txt\n[z-a]", 2), ("!", 1), ("a\\", 1)])
def test_line_that_is_no_rule_is_named(rules: str, line: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"line {line} of .gitignore is no rule"):
        read_ignore_rules(rules)


def test_rules_that_would_take_for_ever_elsewhere_are_matched_in_time() -> None:
    """Python's own matcher needs more than the age of the universe for this path."""
    assert not read_ignore_rules("*a" * 30 + "b")("a" * 250)


@pytest.mark.parametrize("rules", ["x" * 70_000, "\n".join(f"*a{n}*b*c*d*e*f" for n in range(4000))])
def test_too_many_rules_are_refused(rules: str) -> None:
    with pytest.raises(InvalidRequestError, match="fewer or shorter"):
        read_ignore_rules(rules)


def announce(caller: Caller, *paths: str, **more: Any) -> Any:
    files = [{"path": path, "size": 3, "sample": ""} for path in paths]
    return caller.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files, **more})


def ignored(answer: Any) -> set[str]:
    return {file["path"] for file in answer.json()["files"] if file["shouldIgnore"]}


def test_rules_that_the_client_sends_count(team: Caller) -> None:
    assert ignored(announce(team, "a.txt", "a.json", gitIgnore=RULES)) == {"a.txt"}
    assert ignored(announce(team, "a.txt", "a.json")) == set()


def test_rules_of_the_repository_count_unless_the_client_sends_others(team: Caller) -> None:
    team.published("team/tickets", {".gitignore": RULES.encode()})
    assert ignored(announce(team, "a.txt", "keep.txt", "runs/a.json")) == {"a.txt", "runs/a.json"}
    assert ignored(announce(team, "a.txt", "a.json", gitIgnore="*.json")) == {"a.json"}
    assert ignored(announce(team, "a.txt", gitIgnore="")) == set()


def test_file_that_is_there_already_is_not_ignored(team: Caller) -> None:
    team.published("team/tickets", {".gitignore": RULES.encode(), "a.txt": b"old"})
    assert ignored(announce(team, "a.txt", "b.txt")) == {"b.txt"}


def test_ignored_file_may_be_too_large(small_registry: Registry) -> None:
    small_registry.admin.create("team/tickets")
    files = [{"path": "a.txt", "size": 10**12, "sample": ""}]
    at = "/api/models/team/tickets/preupload/main"
    assert small_registry.admin.call("POST", at, json={"files": files}).status_code == 413
    assert small_registry.admin.call("POST", at, json={"files": files, "gitIgnore": "*.txt"}).status_code == 200


def test_rules_that_cannot_be_read_are_refused_until_others_are_sent(team: Caller) -> None:
    team.published("team/tickets", {".gitignore": b"[z-a]"})
    answer = announce(team, "a.txt")
    assert (answer.status_code, "line 1 of .gitignore" in answer.json()["error"]) == (400, True)
    assert announce(team, ".gitignore", gitIgnore="*.json").status_code == 200


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("ignoring")
    with serving(home / "data") as server:
        yield Hub(server, home, new_token(home / "data"))


def test_hf_upload_leaves_ignored_files_at_home(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "runs").mkdir(parents=True)
    for path in ("a.txt", "keep.txt", "runs/1.json", "b.json"):
        (folder / path).write_text(path)
    (folder / ".gitignore").write_text(RULES)
    up = hub.hf("upload", "team/tickets", folder, ".")
    assert up.returncode == 0, up.stderr
    (folder / ".gitignore").unlink()
    (folder / "c.txt").write_text("by the rules that are there")
    (folder / "c.json").write_text("{}")
    up = hub.hf("upload", "team/tickets", folder, ".")
    assert up.returncode == 0, up.stderr
    listed = hub.python("from huggingface_hub import HfApi; print(*sorted(HfApi().list_repo_files('team/tickets')))")
    assert listed.stdout.split() == [".gitattributes", ".gitignore", "b.json", "c.json", "keep.txt"]
