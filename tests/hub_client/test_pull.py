"""Pull: every byte checked, or nothing kept."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import petapter_hub_client
from petapter_schemas.errors import DigestMismatchError
from tests.hub_client.conftest import Petapter, Registry, Stub
from tests.schemas.tiny_module import TinyModule

CachedFiles = Callable[[], list[str]]


@pytest.fixture
def pushed(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    """A module with the versions 1.2.0 and 1.10.0."""
    for version in ("1.2.0", "1.10.0"):
        lab("push", tiny_module(tmp_path / version, version=version), repo_id)
    return repo_id


@pytest.fixture
def tampering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Change one byte of a file after it arrived."""
    download = HfApi.hf_hub_download

    def tamper_with(name: str) -> None:
        def tampered(self: HfApi, repo_id: str, filename: str, **options: Any) -> str:
            path = Path(download(self, repo_id, filename, **options))
            if filename == name:
                data = path.read_bytes()
                path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            return str(path)

        monkeypatch.setattr(HfApi, "hf_hub_download", tampered)

    return tamper_with


def test_pull_takes_the_newest_version(lab: Petapter, pushed: str) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    assert (pulled["version"], pulled["reference"]) == ("1.10.0", f"lab:{pushed}@v1.10.0")


def test_pull_takes_a_named_version(lab: Petapter, pushed: str) -> None:
    pulled: Any = lab("pull", f"lab:{pushed}@v1.2.0", "--json").json
    assert pulled["version"] == "1.2.0"


def test_pulled_bytes_are_the_pushed_ones(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    for path in (tmp_path / "1.10.0").iterdir():
        assert (Path(pulled["directory"]) / path.name).read_bytes() == path.read_bytes()


def test_cache_holds_nothing_but_the_module(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    names = {path.name for path in Path(pulled["directory"]).iterdir()}
    assert names == {path.name for path in (tmp_path / "1.10.0").iterdir()}


def test_second_pull_comes_from_the_cache(lab: Petapter, pushed: str) -> None:
    lab("pull", pushed)
    again: Any = lab("pull", pushed, "--json").json
    assert again["was_cached"]


def test_pull_by_commit(lab: Petapter, pushed: str) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    by_commit: Any = lab("pull", f"{pushed}@{pulled['commit']}", "--json").json
    assert by_commit["digest"] == pulled["digest"]


def test_python_api_pulls(lab: Petapter, pushed: str) -> None:
    assert petapter_hub_client.pull(f"lab:{pushed}").manifest.version == "1.10.0"


@pytest.mark.parametrize("name", ["head.safetensors", "adapter_model.safetensors", "README.md", "golden.json"])
def test_tampered_file_is_not_cached(
    lab: Petapter, pushed: str, cached_files: CachedFiles, tampering: Callable[[str], None], name: str
) -> None:
    tampering(name)
    assert f"{name} was changed" in lab("pull", pushed).error
    assert cached_files() == []


def test_tampered_file_is_not_copied_out(
    lab: Petapter, pushed: str, tmp_path: Path, tampering: Callable[[str], None]
) -> None:
    tampering("head.safetensors")
    assert lab("pull", pushed, "--out", tmp_path / "out").error
    assert not (tmp_path / "out").exists()


def test_tampered_file_is_an_error_in_python_too(lab: Petapter, pushed: str, tampering: Callable[[str], None]) -> None:
    tampering("head.safetensors")
    with pytest.raises(DigestMismatchError):
        petapter_hub_client.pull(f"lab:{pushed}")


def test_broken_cache_entry_is_fetched_again(lab: Petapter, pushed: str) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    head = Path(pulled["directory"]) / "head.safetensors"
    good = head.read_bytes()
    head.write_bytes(good[:-1])
    again: Any = lab("pull", pushed, "--json").json
    assert not again["was_cached"]
    assert head.read_bytes() == good


def test_offline_pull_uses_what_the_reference_meant_last(
    lab: Petapter, pushed: str, offline: Callable[[], None]
) -> None:
    online: Any = lab("pull", pushed, "--json").json
    offline()
    cached: Any = lab("pull", pushed, "--json").json
    assert (cached["commit"], cached["was_cached"]) == (online["commit"], True)


def test_offline_pull_of_something_unknown_says_so(
    lab: Petapter, pushed: str, offline: Callable[[], None], cached_files: CachedFiles
) -> None:
    offline()
    assert "HF_HUB_OFFLINE" in lab("pull", pushed).error
    assert cached_files() == []


def test_offline_pull_never_uses_a_broken_entry(lab: Petapter, pushed: str, offline: Callable[[], None]) -> None:
    pulled: Any = lab("pull", pushed, "--json").json
    (Path(pulled["directory"]) / "head.safetensors").write_bytes(b"")
    offline()
    assert lab("pull", pushed).error


def test_out_is_a_plain_copy(lab: Petapter, pushed: str, tmp_path: Path) -> None:
    pulled: Any = lab("pull", pushed, "--out", tmp_path / "copy", "--json").json
    assert pulled["directory"] == str(tmp_path / "copy")
    assert {p.name for p in (tmp_path / "copy").iterdir()} == {p.name for p in (tmp_path / "1.10.0").iterdir()}


def test_out_that_is_not_empty_is_refused_first(petapter: Petapter, stub: Stub, tmp_path: Path) -> None:
    petapter("remote", "add", "lab", stub.url)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "thesis.txt").write_text("mine")
    assert "not empty" in petapter("pull", "lab:team/x", "--out", tmp_path / "copy").error
    assert stub.requests == []


def test_unknown_module_is_named(lab: Petapter, cached_files: CachedFiles) -> None:
    assert "team/nothing-here" in lab("pull", "team/nothing-here").error
    assert cached_files() == []


def test_unknown_version_is_named(lab: Petapter, pushed: str) -> None:
    assert "no such version" in lab("pull", f"{pushed}@v9.9.9").error


def test_repository_without_a_manifest_is_no_module(lab: Petapter, registry: Registry, repo_id: str) -> None:
    HfApi(endpoint=registry.url, token=registry.token).create_repo(repo_id)
    assert "no petapter module" in lab("pull", repo_id).error


def test_registry_that_is_down_leaves_nothing(petapter: Petapter, cached_files: CachedFiles) -> None:
    petapter("remote", "add", "lab", "http://127.0.0.1:9")
    assert "does not answer" in petapter("pull", "lab:team/x").error
    assert cached_files() == []


def test_remote_that_never_answers_is_given_up(petapter: Petapter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        petapter("remote", "add", "lab", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "does not answer" in petapter("pull", "lab:team/x").error


def test_remote_that_is_no_hub_is_named(petapter: Petapter, stub: Stub) -> None:
    stub.body, stub.headers = b"<html>hello</html>", {"Content-Type": "text/html"}
    petapter("remote", "add", "lab", stub.url)
    assert "not as a hub does" in petapter("pull", "lab:team/x").error


def test_commit_that_is_no_commit_never_becomes_a_path(
    petapter: Petapter, stub: Stub, cached_files: CachedFiles
) -> None:
    stub.body = b'{"id": "team/x", "sha": "../../../../evil", "branches": [], "converts": [], "tags": []}'
    petapter("remote", "add", "lab", stub.url)
    assert "40 hex digits" in petapter("pull", "lab:team/x").error
    assert cached_files() == []


@pytest.mark.parametrize("reference", ["x", "lab:team", "team/x@", "lab:team/x@../v1", "a b:team/x", "team/x@-v"])
def test_text_that_is_no_reference_is_refused(petapter: Petapter, reference: str) -> None:
    assert petapter("pull", reference).error
