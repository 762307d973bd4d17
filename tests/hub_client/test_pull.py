"""Pull: every byte checked, or nothing kept."""

import json
import math
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

import petapter_hub_client
import petapter_hub_client.resolving
from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.errors import DigestMismatchError
from tests.cutting_proxy import Proxy, proxied
from tests.hub_client.conftest import Petapter, Registry, Stub, files_below
from tests.schemas.tiny_module import TinyModule, put_file

CachedFiles = Callable[[], list[str]]


@pytest.fixture
def pushed(lab: Petapter, tiny_module: TinyModule, tmp_path: Path, repo_id: str) -> str:
    """A module with the versions 1.2.0 and 1.10.0."""
    for version in ("1.2.0", "1.10.0"):
        lab("push", tiny_module(tmp_path / version, version=version), repo_id)
    return repo_id


@pytest.fixture
def bad_network(lab: Petapter, registry: Registry) -> Iterator[Proxy]:
    """The same registry as remote `far`, behind a proxy."""
    with proxied(registry.url) as proxy:
        lab("remote", "add", "far", proxy.url)
        lab("login", "far", "--token", registry.token)
        yield proxy


def tamper_with(proxy: Proxy, name: str) -> None:
    """Change one byte of a file on its way."""
    proxy.name, proxy.flips_last_bit = name, True


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
def test_tampered_file_is_not_cached(lab: Petapter, pushed: str, tmp_path: Path, bad_network: Proxy, name: str) -> None:
    tamper_with(bad_network, name)
    ran = lab("pull", f"far:{pushed}")
    assert f"{name} was changed" in ran.error
    assert ran.code == ExitCode.UNFIT_MODULE
    assert module_files(tmp_path) == []
    bad_network.flips_last_bit = False
    assert lab("pull", f"far:{pushed}").code == 0


def test_tampered_manifest_is_refused_before_anything_else_comes(
    lab: Petapter, pushed: str, bad_network: Proxy, tmp_path: Path
) -> None:
    tamper_with(bad_network, "petapter.json")
    assert lab("pull", f"far:{pushed}").error
    assert bad_network.ranges("head.safetensors") == []
    assert module_files(tmp_path) == []


def test_manifest_that_still_reads_well_is_not_what_was_pushed(
    lab: Petapter, pushed: str, bad_network: Proxy, tmp_path: Path
) -> None:
    bad_network.name, bad_network.replaces = "petapter.json", (b"1.10.0", b"1.10.1")
    ran = lab("pull", f"far:{pushed}")
    assert f"petapter.json of {pushed} is damaged" in ran.error
    assert (ran.code, module_files(tmp_path)) == (ExitCode.UNFIT_MODULE, [])


def test_tampered_file_is_not_copied_out(lab: Petapter, pushed: str, tmp_path: Path, bad_network: Proxy) -> None:
    tamper_with(bad_network, "head.safetensors")
    assert lab("pull", f"far:{pushed}", "--out", tmp_path / "out").error
    assert not (tmp_path / "out").exists()


def test_tampered_file_is_an_error_in_python_too(lab: Petapter, pushed: str, bad_network: Proxy) -> None:
    tamper_with(bad_network, "head.safetensors")
    with pytest.raises(DigestMismatchError):
        petapter_hub_client.pull(f"far:{pushed}")


def test_file_longer_than_promised_is_not_taken(
    lab: Petapter, pushed: str, bad_network: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = petapter_hub_client.resolving.read_small
    monkeypatch.setattr(
        "petapter_hub_client.resolving.read_small", lambda *a: read(*a).replace(b'"size": 226', b'"size": 99')
    )
    assert "was changed: the remote sends" in lab("pull", f"far:{pushed}").error
    assert module_files(tmp_path) == []


def module_files(tmp_path: Path) -> list[str]:
    """What a program could take for a module."""
    return [name for name in files_below(tmp_path / "cache") if name.endswith(("petapter.json", ".safetensors"))]


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
    ran = lab("pull", pushed)
    assert "HF_HUB_OFFLINE" in ran.error
    assert ran.code == ExitCode.REMOTE_FAILED
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
    ran = lab("pull", f"{pushed}@v9.9.9")
    assert ran.code == ExitCode.NOT_FOUND
    assert "no such version" in ran.error
    assert "its newest versions are v1.10.0, v1.2.0" in ran.error


def test_misspelt_module_gets_the_nearest_name(lab: Petapter, pushed: str) -> None:
    assert f"did you mean '{pushed}'?" in lab("pull", f"{pushed[:-1]}").error
    assert f"did you mean '{pushed}'?" in lab("pull", f"taem/{pushed.partition('/')[2]}").error


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


def test_quiet_pull_says_where_the_module_is(lab: Petapter, pushed: str) -> None:
    ran = lab("pull", pushed, "--quiet")
    assert ran.err == ""
    assert (Path(ran.out.strip()) / "petapter.json").is_file()


def test_pull_for_another_backbone_is_refused_before_any_weight_comes(
    lab: Petapter, pushed: str, bad_network: Proxy, backbone: Path, tmp_path: Path
) -> None:
    ran = lab("pull", f"far:{pushed}", "--backbone", backbone)
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "does not run on" in ran.error
    assert "the weights differ" in ran.error
    assert bad_network.ranges("head.safetensors") == []
    assert module_files(tmp_path) == []


def test_pull_for_a_backbone_that_is_not_here_says_so(lab: Petapter, pushed: str) -> None:
    assert "is not on this machine" in lab("pull", pushed, "--backbone", "acme/large").error


def test_pull_for_its_own_backbone_and_check(lab: Petapter, module: Path, backbone: Path, repo_id: str) -> None:
    lab("push", module, repo_id)
    pulled: Any = lab("pull", repo_id, "--backbone", backbone, "--check", "--json").json
    assert (pulled["backbone"]["verdict"], pulled["was_reproduced"]) == ("ok", True)
    again = lab("pull", repo_id, "--backbone", backbone)
    assert "all digests are the same" in again.out


def test_pull_warns_where_the_backbone_of_that_name_is_another_one(
    lab: Petapter, module: Path, backbone: Path, repo_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab("push", module, repo_id)
    monkeypatch.chdir(shutil.copytree(backbone, tmp_path / "here" / backbone.name).parent)
    fits: Any = lab("pull", repo_id, "--json").json
    assert fits["backbone"]["verdict"] == "warn"  # the weights were not read
    lab("remove", "--all", "--yes")
    config = Path(backbone.name) / "config.json"
    config.write_text(config.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4'))
    ran = lab("pull", repo_id)
    assert ran.code == 0
    assert "warning: " in ran.err
    assert "does NOT run: the configuration differs" in ran.err


def test_check_of_outputs_that_are_not_the_modules_own(
    lab: Petapter, module: Path, backbone: Path, repo_id: str
) -> None:
    golden = json.loads((module / "golden.json").read_text())
    for probe in golden["probes"]:
        probe["log_probabilities"] = [-0.01, math.log1p(-math.exp(-0.01))]
    lab("push", put_file(module, "golden.json", json.dumps(golden).encode()), repo_id)
    ran = lab("pull", repo_id, "--backbone", backbone, "--check")
    assert ran.code == ExitCode.UNFIT_MODULE
    assert "does not reproduce its recorded outputs" in ran.error


def test_pull_alone_imports_neither_core_nor_torch(lab: Petapter, pushed: str) -> None:
    script = (
        "import sys\nfrom petapter_hub_client.cli import main\n"
        f"try:\n    main(['pull', {pushed!r}, '-q'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "sys.exit(' '.join({'petapter', 'torch', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_info_offline_reads_the_cache(lab: Petapter, pushed: str, offline: Callable[[], None]) -> None:
    online: Any = lab("pull", pushed, "--json").json
    offline()
    info: Any = lab("info", pushed, "--json").json
    assert (info["commit"], info["digest"]) == (online["commit"], online["digest"])
