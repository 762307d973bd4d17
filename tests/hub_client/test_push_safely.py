"""Push: what is shown before, which version comes next, what is made up for, and what two people do to each other."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import petapter_hub_client as hub
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.manifest import MANIFEST_FILE, manifest_bytes, read_manifest
from petapter_schemas.plot_data import PLOT_DATA_FILE
from tests.cutting_proxy import Proxy, proxied
from tests.hub_client.conftest import Petapter, Registry
from tests.registry_process import BIN
from tests.schemas.test_plot_data import DATA
from tests.schemas.tiny_module import TinyModule, put_file


@pytest.fixture
def api(registry: Registry) -> HfApi:
    return HfApi(endpoint=registry.url, token=registry.token)


@pytest.fixture
def first(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> Path:
    """A module that is published as 1.0.0."""
    directory = tiny_module(tmp_path / "first")
    assert lab("push", directory, repo_id).code == 0
    return directory


def without_golden(directory: Path) -> Path:
    manifest = read_manifest(directory)
    files = tuple(file for file in manifest.files if file.path != "golden.json")
    (directory / MANIFEST_FILE).write_bytes(manifest_bytes(manifest.model_copy(update={"files": files})))
    (directory / "golden.json").unlink()
    return directory


@pytest.mark.parametrize(("bump", "next_version"), [("major", "2.0.0"), ("minor", "1.1.0"), ("patch", "1.0.1")])
@pytest.mark.usefixtures("first")
def test_bump_counts_from_what_the_remote_has(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str, bump: str, next_version: str
) -> None:
    other = tiny_module(tmp_path / "n", version="0.3.0", labels=("c", "d"))
    pushed: Any = lab("push", other, repo_id, "--bump", bump, "--json").json
    assert pushed["version"] == next_version
    assert read_manifest(other).version == "0.3.0"


def test_bump_of_a_module_nobody_published_takes_its_own_version(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    pushed: Any = lab("push", tiny_module(tmp_path / "m", version="0.3.0"), repo_id, "--bump", "minor", "--json").json
    assert pushed["version"] == "0.3.0"


def test_bump_of_what_is_published_does_nothing_and_says_so(
    lab: Petapter, first: Path, api: HfApi, repo_id: str
) -> None:
    ran = lab("push", first, repo_id, "--bump", "minor")
    assert f"lab:{repo_id}@v1.0.0 already holds this module: nothing to do" in ran.out
    assert [tag.name for tag in api.list_repo_refs(repo_id).tags] == ["v1.0.0"]


def test_a_version_that_was_made_of_this_directory_is_found_again(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    one: Any = lab("push", directory, repo_id, "--version", "3.0.0", "--json").json
    two: Any = lab("push", directory, repo_id, "--version", "3.0.0", "--json").json
    assert (two["was_there"], two["commit"], two["digest"]) == (True, one["commit"], one["digest"])


def test_version_and_bump_together_are_refused(lab: Petapter, first: Path, repo_id: str) -> None:
    assert "give one of them" in lab("push", first, repo_id, "--bump", "major", "--version", "2.0.0").error


def test_dry_run_shows_everything_and_writes_nothing(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    ran = lab("push", tiny_module(tmp_path / "m"), repo_id, "--dry-run")
    assert ran.code == 0
    assert "head.safetensors" in ran.out
    assert "whose repository will be made" in ran.out
    assert "nothing was uploaded" in ran.out
    assert not api.repo_exists(repo_id)


def test_dry_run_tells_new_changed_and_deleted_files(
    lab: Petapter, first: Path, tiny_module: TinyModule, tmp_path: Path, repo_id: str, api: HfApi
) -> None:
    api.upload_file(path_or_fileobj=b"old", path_in_repo="notes.txt", repo_id=repo_id)
    other = put_file(tiny_module(tmp_path / "n"), PLOT_DATA_FILE, json.dumps(DATA).encode())
    head = api.model_info(repo_id).sha
    plan: Any = lab("push", other, repo_id, "--bump", "minor", "--dry-run", "--json").json
    states = {file["path"]: file["state"] for file in plan["files"]}
    assert (states["head.safetensors"], states["README.md"], states["plot-f1.svg"]) == ("there", "changed", "new")
    assert (plan["version"], plan["step"], plan["deleted"]) == ("1.1.0", "commit", ["notes.txt"])
    assert plan["sent_bytes"] < sum(file["size_bytes"] for file in plan["files"])
    assert api.model_info(repo_id).sha == head
    pushed: Any = lab("push", other, repo_id, "--bump", "minor", "--json").json
    assert pushed["digest"] == plan["digest"]


def test_plan_is_a_function_too(lab: Petapter, first: Path, repo_id: str) -> None:
    plan = hub.plan_push(first, repo_id)
    assert (plan.step, plan.version, plan.sent_bytes) == ("nothing", "1.0.0", 0)
    with pytest.raises(AttributeError):
        plan.version = "2"  # type: ignore[misc]


def test_card_and_plots_of_a_new_version_are_published(
    lab: Petapter, first: Path, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    other = put_file(tiny_module(tmp_path / "n"), PLOT_DATA_FILE, json.dumps(DATA).encode())
    lab("push", other, repo_id, "--bump", "minor")
    pulled: Any = lab("pull", repo_id, "--json").json
    card = (Path(pulled["directory"]) / "README.md").read_text()
    assert "![Confusion matrix on held-out (test, 20 rows): 15 rows are right" in card
    assert (Path(pulled["directory"]) / "plot-confusion.svg").is_file()
    assert not (other / "plot-confusion.svg").exists()


def test_author_hears_what_others_will_miss(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    (directory / "notes.txt").write_text("mine")
    told = lab("push", directory, repo_id, "--dry-run").err
    assert "measured on 20 rows alone" in told
    assert f"it calls itself tiny and will be found as {repo_id.rpartition('/')[2]}" in told
    assert "does not list notes.txt" in told
    assert lab("push", directory, repo_id, "--dry-run", "--quiet").err == ""


def test_missing_golden_outputs_that_cannot_be_computed_here_are_one_line(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    ran = lab("push", without_golden(tiny_module(tmp_path / "m")), repo_id)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "has no golden outputs" in ran.error
    assert "acme/tiny-bert, which is not on this machine" in ran.error
    assert not api.repo_exists(repo_id)


def test_missing_golden_outputs_are_computed_where_the_backbone_is(
    lab: Petapter, module: Path, backbone: Path, tmp_path: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = json.loads((module / "golden.json").read_text())
    directory = without_golden(Path(shutil.copytree(module, tmp_path / "copy")))
    monkeypatch.chdir(backbone.parent)
    ran = lab("push", directory, repo_id)
    assert "golden outputs: there were none" in ran.err
    assert not (directory / "golden.json").exists()
    pulled: Any = lab("pull", repo_id, "--json").json
    made = json.loads((Path(pulled["directory"]) / "golden.json").read_text())
    for probe, expected in zip(made["probes"], recorded["probes"], strict=True):
        assert probe["log_probabilities"] == pytest.approx(expected["log_probabilities"], abs=1e-5)
    assert lab("pull", repo_id, "--check", "--backbone", backbone).code == 0


def test_the_same_directory_without_golden_outputs_is_one_module(
    lab: Petapter, module: Path, backbone: Path, tmp_path: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = without_golden(module)
    monkeypatch.chdir(backbone.parent)
    lab("push", directory, repo_id)
    assert json.loads(lab("push", directory, repo_id, "--json").out)["was_there"]


def _pushing(lab: Petapter, registry: Registry, proxy: Proxy, directory: Path, repo_id: str) -> subprocess.Popen[str]:
    """A push in a process of its own by way of the proxy, once it is held there."""
    lab("remote", "add", "far", proxy.url)
    lab("login", "far", "--token", registry.token)
    command = [BIN / "petapter", "push", directory, f"far:{repo_id}", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert proxy.held.wait(60)
    return process


@pytest.mark.usefixtures("first")
def test_of_two_people_who_push_at_once_one_gets_a_line(
    lab: Petapter, registry: Registry, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    mine = tiny_module(tmp_path / "mine", version="1.1.0", labels=("m", "n"))
    theirs = tiny_module(tmp_path / "theirs", version="1.1.0", labels=("t", "u"))
    with proxied(registry.url) as proxy:
        proxy.hold_request = ("POST", "/commit/")
        process = _pushing(lab, registry, proxy, mine, repo_id)
        pushed: Any = lab("push", theirs, repo_id, "--json").json
        proxy.let_go.set()
        out, problems = process.communicate(timeout=60)
    assert (process.returncode, out, problems.count("\n")) == (ExitCode.CONFLICT, "", 1)
    assert f"{repo_id} changed on remote 'far' meanwhile" in problems
    refs = api.list_repo_refs(repo_id)
    assert {tag.name: tag.target_commit for tag in refs.tags}["v1.1.0"] == pushed["commit"]
    assert api.model_info(repo_id).sha == pushed["commit"]
    assert "already holds 1.1.0 with other content" in lab("push", mine, repo_id).error
    assert lab("push", mine, repo_id, "--bump", "patch", "-q").out == f"lab:{repo_id}@v1.1.1\n"


def _finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, problems = process.communicate(timeout=60)
    return process.returncode, out, problems


@pytest.mark.usefixtures("first")
def test_another_push_between_commit_and_tag_takes_the_version_and_says_so(
    lab: Petapter, registry: Registry, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    mine = tiny_module(tmp_path / "mine", version="1.1.0", labels=("m", "n"))
    theirs = tiny_module(tmp_path / "theirs", version="1.1.0", labels=("t", "u"))
    with proxied(registry.url) as proxy:
        proxy.hold_request = ("POST", "/tag/")
        process = _pushing(lab, registry, proxy, mine, repo_id)
        pushed: Any = lab("push", theirs, repo_id, "--json").json
        proxy.let_go.set()
        code, out, problems = _finished(process)
    assert (code, out, problems.count("\n")) == (ExitCode.CONFLICT, "", 1)
    assert {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}["v1.1.0"] == pushed["commit"]
    assert lab("push", theirs, repo_id, "-q").out == f"lab:{repo_id}@v1.1.0\n"
    assert lab("push", mine, repo_id, "--bump", "patch", "-q").out == f"lab:{repo_id}@v1.1.1\n"
    pulled: Any = lab("pull", f"{repo_id}@v1.1.0", "--json").json
    assert pulled["digest"] == pushed["digest"]


@pytest.mark.usefixtures("first")
def test_commit_of_an_interrupted_push_gets_its_tag_though_others_pushed_after_it(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tiny_module(tmp_path / "mine", version="1.1.0", labels=("m", "n"))
    theirs = tiny_module(tmp_path / "theirs", version="1.0.1", labels=("t", "u"))
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_tag", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("cable")))
        assert "cable" in lab("push", mine, repo_id).error
    left = api.model_info(repo_id).sha
    assert lab("push", theirs, repo_id, "-q").out == f"lab:{repo_id}@v1.0.1\n"
    commits = [commit.commit_id for commit in api.list_repo_commits(repo_id)]
    plan: Any = lab("push", mine, repo_id, "--dry-run", "--json").json
    assert (plan["step"], plan["sent_bytes"]) == ("tag", 0)
    pushed: Any = lab("push", mine, repo_id, "--json").json
    assert (pushed["reference"], pushed["commit"]) == (f"lab:{repo_id}@v1.1.0", left)
    assert [commit.commit_id for commit in api.list_repo_commits(repo_id)] == commits
    pulled: Any = lab("pull", f"{repo_id}@v1.1.0", "--json").json
    assert (pulled["commit"], pulled["digest"]) == (left, pushed["digest"])


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("held", ["/commit/", "/tag/"])
def test_of_two_people_who_push_the_same_at_once_both_have_pushed_it(
    lab: Petapter, registry: Registry, tiny_module: TinyModule, tmp_path: Path, repo_id: str, held: str
) -> None:
    directory = tiny_module(tmp_path / "ours", version="1.1.0", labels=("m", "n"))
    with proxied(registry.url) as proxy:
        proxy.hold_request = ("POST", held)
        process = _pushing(lab, registry, proxy, directory, repo_id)
        pushed: Any = lab("push", directory, repo_id, "--json").json
        proxy.let_go.set()
        assert _finished(process) == (0, f"far:{repo_id}@v1.1.0\n", "")
    api = HfApi(endpoint=registry.url, token=registry.token)
    assert {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}["v1.1.0"] == pushed["commit"]
    assert api.model_info(repo_id).sha == pushed["commit"]
