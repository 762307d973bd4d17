"""Push: one commit and one tag, or nothing."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from petapter_hub_client import publishing
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.versions import newest_tag
from tests.cutting_proxy import proxied
from tests.hub_client.conftest import Petapter, Registry, Stub
from tests.registry_process import BIN
from tests.schemas.tiny_module import TinyModule


@pytest.fixture
def api(registry: Registry) -> HfApi:
    return HfApi(endpoint=registry.url, token=registry.token)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_push_makes_a_commit_and_a_version_tag(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    pushed: Any = lab("push", tiny_module(tmp_path / "m"), repo_id, "--json").json
    assert pushed["reference"] == f"lab:{repo_id}@v1.0.0"
    refs = api.list_repo_refs(repo_id)
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1.0.0", pushed["commit"])]


def test_push_sends_listed_files_only(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    expected = set(snapshot(directory))
    (directory / "notes.txt").write_text("mine")
    lab("push", directory, repo_id)
    assert set(api.list_repo_files(repo_id)) - {".gitattributes"} == expected


def test_push_shows_first_what_it_sends(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> None:
    ran = lab("push", tiny_module(tmp_path / "m"), repo_id)
    assert "head.safetensors" in ran.err
    assert "sha256:" in ran.out


def test_push_leaves_the_directory_as_it_is(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    before = snapshot(directory)
    lab("push", directory, repo_id)
    assert snapshot(directory) == before


def test_pushing_the_same_again_does_nothing(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    first: Any = lab("push", directory, repo_id, "--json").json
    again: Any = lab("push", directory, repo_id, "--json").json
    assert (again["was_there"], again["commit"]) == (True, first["commit"])
    assert api.model_info(repo_id).sha == first["commit"]


def test_same_version_with_other_content_is_refused(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    lab("push", tiny_module(tmp_path / "m", labels=("a", "b")), repo_id)
    error = lab("push", tiny_module(tmp_path / "n", labels=("c", "d")), repo_id).error
    assert "already holds 1.0.0" in error
    assert "--version 1.0.1" in error


def test_push_over_a_newer_version_is_refused(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    newer: Any = lab("push", tiny_module(tmp_path / "m", version="1.2.0"), repo_id, "--json").json
    error = lab("push", tiny_module(tmp_path / "n", version="1.1.0"), repo_id).error
    assert "already holds 1.2.0, newer than 1.1.0: push with --version 1.2.1" in error
    assert api.model_info(repo_id).sha == newer["commit"]


def test_refused_version_does_not_touch_the_directory(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m", version="1.2.0")
    lab("push", directory, repo_id)
    before = snapshot(directory)
    assert lab("push", directory, repo_id, "--version", "1.1.0").error
    assert snapshot(directory) == before


def test_version_option_publishes_a_copy_and_leaves_the_directory(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    before = snapshot(directory)
    pushed: Any = lab("push", directory, repo_id, "--version", "2.0.0", "--json").json
    assert snapshot(directory) == before
    pulled: Any = lab("pull", repo_id, "--json").json
    assert (pulled["version"], pulled["digest"]) == ("2.0.0", pushed["digest"])
    assert f"petapter pull {repo_id}@v2.0.0" in (Path(pulled["directory"]) / "README.md").read_text()


def test_files_no_longer_listed_are_deleted(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    lab("push", tiny_module(tmp_path / "m"), repo_id)
    api.create_commit(repo_id, [CommitOperationAdd("notes.txt", b"old")], commit_message="by hand")
    lab("push", tiny_module(tmp_path / "n", version="1.1.0"), repo_id)
    assert "notes.txt" not in api.list_repo_files(repo_id)
    assert ".gitattributes" in api.list_repo_files(repo_id)


def test_interrupted_push_is_completed_by_tagging(
    lab: Petapter,
    api: HfApi,
    tiny_module: TinyModule,
    tmp_path: Path,
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = tiny_module(tmp_path / "m")
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_tag", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("cable")))
        assert "cable" in lab("push", directory, repo_id).error
    head = api.model_info(repo_id).sha
    pushed: Any = lab("push", directory, repo_id, "--json").json
    assert (pushed["commit"], api.model_info(repo_id).sha) == (head, head)


@pytest.mark.parametrize(
    "moment",
    [
        ("/api/repos/create", True),
        ("/commit/", False),
        ("/commit/", True),
        ("/tag/", False),
        ("/tag/", True),
    ],
    ids=lambda moment: f"{moment[0].strip('/')} {'done' if moment[1] else 'asked for'}",
)
def test_ctrl_c_leaves_a_push_that_goes_on(
    lab: Petapter, registry: Registry, tiny_module: TinyModule, tmp_path: Path, repo_id: str, moment: tuple[str, bool]
) -> None:
    directory = tiny_module(tmp_path / "m")
    before = snapshot(directory)
    with proxied(registry.url) as proxy:
        lab("remote", "add", "far", proxy.url)
        lab("login", "far", "--token", registry.token)
        proxy.hold_request, proxy.hold_answer = ("POST", moment[0]), moment[1]
        command = [BIN / "petapter", "push", directory, f"far:{repo_id}", "--quiet"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert proxy.held.wait(60)
        process.send_signal(signal.SIGINT)
        _, problems = process.communicate(timeout=60)
        assert (process.returncode, problems) == (
            ExitCode.INTERRUPTED, "interrupted: run the same command again to go on\n",
        )  # fmt: skip
        proxy.let_go.set()
    pushed: Any = lab("push", directory, repo_id, "--json").json
    assert snapshot(directory) == before
    pulled: Any = lab("pull", repo_id, "--json").json
    assert (pulled["version"], pulled["commit"], pulled["digest"]) == ("1.0.0", pushed["commit"], pushed["digest"])
    assert len(HfApi(endpoint=registry.url, token=registry.token).list_repo_commits(repo_id)) <= 3


def test_commit_made_meanwhile_is_a_conflict(
    lab: Petapter,
    api: HfApi,
    tiny_module: TinyModule,
    tmp_path: Path,
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab("push", tiny_module(tmp_path / "m"), repo_id)
    commit_files = publishing.commit_files

    def after_another(*arguments: Any) -> Any:
        api.create_commit(repo_id, [CommitOperationAdd("notes.txt", b"mine")], commit_message="first")
        return commit_files(*arguments)

    monkeypatch.setattr(publishing, "commit_files", after_another)
    assert "try again" in lab("push", tiny_module(tmp_path / "n", version="1.1.0"), repo_id).error
    assert [tag.name for tag in api.list_repo_refs(repo_id).tags] == ["v1.0.0"]


def test_commit_that_an_interrupted_push_made_late_is_taken(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_module(tmp_path / "m")
    commit_files, late = publishing.commit_files, []

    def after_the_late_one(*arguments: Any) -> Any:
        late.append(commit_files(*arguments))
        return commit_files(*arguments)

    monkeypatch.setattr(publishing, "commit_files", after_the_late_one)
    pushed: Any = lab("push", directory, repo_id, "--json").json
    assert [pushed["commit"]] == late
    assert {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags} == {"v1.0.0": late[0]}


def test_tampered_directory_is_not_sent(
    lab: Petapter, api: HfApi, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    directory = tiny_module(tmp_path / "m")
    data = (directory / "head.safetensors").read_bytes()
    (directory / "head.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "head.safetensors was changed" in lab("push", directory, repo_id).error
    assert not api.repo_exists(repo_id)


def test_directory_without_manifest_is_named(lab: Petapter, tmp_path: Path, repo_id: str) -> None:
    assert "no module directory" in lab("push", tmp_path, repo_id).error


@pytest.mark.parametrize("name", ["team", "team/a/b", "team/-x", "team/a--b", "team/ü", "team/.."])
def test_name_that_breaks_the_rules_is_refused(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, name: str
) -> None:
    assert name.rpartition("/")[2] in lab("push", tiny_module(tmp_path / "m"), name).error


def test_revision_in_the_reference_is_refused(
    lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    assert "--version" in lab("push", tiny_module(tmp_path / "m"), f"{repo_id}@v1.0.0").error


def test_bad_version_is_refused_before_anything_is_asked(
    petapter: Petapter, stub: Stub, tiny_module: TinyModule, tmp_path: Path
) -> None:
    petapter("remote", "add", "lab", stub.url)
    assert "'1.0'" in petapter("push", tiny_module(tmp_path / "m"), "lab:team/x", "--version", "1.0").error
    assert stub.requests == []


def test_push_without_token_says_to_log_in(
    petapter: Petapter, registry: Registry, tiny_module: TinyModule, tmp_path: Path
) -> None:
    petapter("remote", "add", "lab", registry.url)
    assert "petapter login lab" in petapter("push", tiny_module(tmp_path / "m"), "lab:team/x").error


def test_push_with_wrong_token_is_refused(
    lab: Petapter,
    api: HfApi,
    tiny_module: TinyModule,
    tmp_path: Path,
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "wrong")
    ran = lab("push", tiny_module(tmp_path / "m"), repo_id)
    assert ran.code == ExitCode.NOT_ALLOWED
    assert "correct or unset that variable" in ran.error
    assert not api.repo_exists(repo_id)


def test_push_with_a_token_that_may_only_read_is_refused(
    lab: Petapter,
    registry: Registry,
    tiny_module: TinyModule,
    tmp_path: Path,
    repo_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = Path(sys.executable).parent / "petapter-registry"
    command = [program, "token", "create", "--data", registry.data, "--user", "reader", "--role", "read"]
    token = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", token)
    assert "petapter login lab" in lab("push", tiny_module(tmp_path / "m"), repo_id).error


def test_private_push_is_hidden_from_others(
    lab: Petapter, registry: Registry, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> None:
    lab("push", tiny_module(tmp_path / "m"), repo_id, "--private")
    assert not HfApi(endpoint=registry.url, token=False).repo_exists(repo_id)
    assert HfApi(endpoint=registry.url, token=registry.token).repo_exists(repo_id)


def test_reason_of_the_server_is_shown(
    petapter: Petapter, stub: Stub, tiny_module: TinyModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PETAPTER_TOKEN_LAB", "mine")
    petapter("remote", "add", "lab", stub.url)
    stub.status, stub.body = 400, b'{"error": "the moon is full"}'
    assert "(400): the moon is full" in petapter("push", tiny_module(tmp_path / "m"), "lab:team/x").error


def test_registry_that_is_down_is_named_with_its_address(
    petapter: Petapter, tiny_module: TinyModule, tmp_path: Path
) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:9")
    error = petapter("push", tiny_module(tmp_path / "m"), "lab:team/x").error
    assert "'lab' at http://127.0.0.1:9 does not answer" in error


@pytest.mark.parametrize(
    ("tags", "newest"),
    [
        (["v1.2.0", "v1.10.0", "v1.9.0"], "v1.10.0"),
        (["v1.0.0", "v2.0.0-rc1"], "v1.0.0"),
        (["v2.0.0-rc1", "v2.0.0-rc2"], "v2.0.0-rc2"),
        (["draft", "v1", "1.0.0"], None),
        ([], None),
    ],
)
def test_newest_tag(tags: list[str], newest: str | None) -> None:
    assert newest_tag(tags) == newest
