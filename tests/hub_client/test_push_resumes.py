"""Pushes of large files: what they show, and what is sent again after they were interrupted."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.push_plans import PushPlan
from petapter_registry_server.services.uploads import PART_BYTES
from tests.benchmarks.counting_relay import Count, relay
from tests.cutting_proxy import proxied
from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.test_pull_resumes import START_S, start
from tests.registry_process import new_token, serving
from tests.schemas import tiny_module
from tests.schemas.tiny_module import put_file

LARGE = "adapter_model.safetensors"
HIDDEN = 800_000
"""Of a backbone so wide that the adapter is longer than what a commit takes inside it, and has four parts."""
SMALL_CHANGE = 200_000
"""Of questions, headers and small files."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of 19 MB, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_module, "HIDDEN", HIDDEN)
        return tiny_module.build_tiny_module(tmp_path_factory.mktemp("wide") / "m")


@pytest.fixture
def large(wide: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(wide, tmp_path / "large"))


def size_apart(module: Path) -> int:
    size = (module / LARGE).stat().st_size
    assert 3 * PART_BYTES < size < 4 * PART_BYTES
    return size


def size_inside(module: Path) -> int:
    """Of the files that go inside the commit, as base64."""
    return 4 * sum(path.stat().st_size for path in module.iterdir() if path.name != LARGE) // 3


@pytest.fixture
def far(lab: Petapter, registry: Registry) -> Iterator[Count]:
    """The registry as the remote `far`, over a line whose bytes are counted."""
    with relay(registry.url) as count:
        lab("remote", "add", "far", count.url)
        lab("login", "far", "--token", registry.token)
        count.sent = 0
        yield count
        count.let_go.set()


def interrupted(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGINT)
    out, problems = process.communicate(timeout=START_S)
    assert (process.returncode, out, problems) == (
        ExitCode.INTERRUPTED, "", "interrupted: run the same command again to go on\n",
    )  # fmt: skip


def test_interrupted_push_sends_what_is_missing_alone(
    lab: Petapter, far: Count, large: Path, repo_id: str, registry: Registry
) -> None:
    far.hold_at = 2 * PART_BYTES + PART_BYTES // 2
    process = start("push", str(large), f"far:{repo_id}", "--quiet")
    assert far.held.wait(START_S)
    interrupted(process)
    far.let_go.set()
    assert HfApi(endpoint=registry.url, token=registry.token).list_repo_refs(repo_id).tags == []
    far.sent = 0
    pushed: Any = lab("push", large, f"far:{repo_id}", "--json").json
    missing = size_apart(large) - 2 * PART_BYTES + size_inside(large)
    # the part that was on its way may have come through after all
    assert any(left <= far.sent < left + SMALL_CHANGE for left in (missing - PART_BYTES, missing))
    pulled: Any = lab("pull", repo_id, "--json").json
    assert (pulled["digest"], pulled["commit"]) == (pushed["digest"], pushed["commit"])


def test_line_that_breaks_costs_a_part_and_not_the_push(lab: Petapter, far: Count, large: Path, repo_id: str) -> None:
    far.cut_at = PART_BYTES + PART_BYTES // 2
    assert lab("push", large, f"far:{repo_id}", "-q").code == 0
    size = size_apart(large) + size_inside(large)
    assert size < far.sent < size + PART_BYTES + SMALL_CHANGE


def test_large_file_that_a_version_had_is_not_sent_for_the_next(
    lab: Petapter, far: Count, large: Path, repo_id: str
) -> None:
    assert lab("push", large, f"far:{repo_id}", "-q").code == 0
    far.sent = 0
    put_file(large, "more.txt", b"a little more")
    assert lab("push", large, f"far:{repo_id}", "--bump", "minor", "-q").code == 0
    assert far.sent < SMALL_CHANGE


@pytest.mark.parametrize(
    "moment",
    [
        ("POST", "/preupload/", False),
        ("POST", "/objects/batch", False),
        ("PUT", "/api/uploads/", False),
        ("PUT", "/api/uploads/", True),
        ("POST", "/api/uploads/", False),
        ("POST", "/api/uploads/", True),
        ("POST", "/lfs/verify", False),
        ("POST", "/commit/", True),
    ],
    ids=lambda moment: f"{moment[0]} {moment[1].strip('/')} {'done' if moment[2] else 'asked for'}",
)
def test_ctrl_c_while_a_large_file_is_sent_leaves_a_push_that_goes_on(
    lab: Petapter, registry: Registry, large: Path, repo_id: str, moment: tuple[str, str, bool]
) -> None:
    with proxied(registry.url) as proxy:
        lab("remote", "add", "far", proxy.url)
        lab("login", "far", "--token", registry.token)
        proxy.hold_request, proxy.hold_answer = moment[:2], moment[2]
        process = start("push", str(large), f"far:{repo_id}", "--quiet")
        assert proxy.held.wait(START_S)
        interrupted(process)
        proxy.let_go.set()
    pushed: Any = lab("push", large, repo_id, "--json").json
    pulled: Any = lab("pull", repo_id, "--json").json
    assert (pulled["version"], pulled["commit"], pulled["digest"]) == ("1.0.0", pushed["commit"], pushed["digest"])
    assert len(HfApi(endpoint=registry.url, token=registry.token).list_repo_commits(repo_id)) <= 3


def test_progress_is_heard_in_bytes(lab: Petapter, large: Path, repo_id: str) -> None:
    assert lab("remote", "list").code == 0
    plans: list[PushPlan] = []
    heard: list[tuple[str, int, int]] = []
    hub.push(
        large, f"lab:{repo_id}", on_plan=plans.append,
        on_progress=lambda path, done, total: heard.append((path, done, total)),
    )  # fmt: skip
    done = [each for _, each, _ in heard]
    assert done == sorted(done)
    assert {total for _, _, total in heard} == {plans[0].sent_bytes}
    assert done[-1] == plans[0].sent_bytes
    assert len([path for path, _, _ in heard if path == LARGE]) > size_apart(large) // PART_BYTES


def test_progress_is_drawn_at_a_terminal_and_for_nobody_else(
    lab: Petapter, tmp_path: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("rich.live.Live.refresh", lambda live: drawn.append(type(live).__name__))
    directory = tiny_module.build_tiny_module(tmp_path / "m")
    lab("push", directory, repo_id)
    assert drawn == []
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    lab("push", directory, repo_id, "--version", "1.1.0", "--quiet")
    assert drawn == []
    lab("push", put_file(directory, "more.txt", b"x"), repo_id, "--version", "1.2.0")
    assert drawn != []


def test_file_that_the_registry_does_not_take_is_one_line(petapter: Petapter, large: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PETAPTER_REGISTRY_MAX_FILE_BYTES", str(11 << 20))
        with serving(tmp_path / "small") as server:
            petapter("remote", "add", "small", server.url)
            petapter("login", "small", "--token", new_token(server.data))
            ran = petapter("push", large, "small:team/large")
            assert ran.code == ExitCode.REMOTE_FAILED
            assert f"{LARGE} has 12800307 bytes; this registry takes files of up to" in ran.error
