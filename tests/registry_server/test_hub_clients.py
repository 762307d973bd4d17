"""The unmodified clients of the Hugging Face Hub against a real server process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry_process import Hub, new_token, serving
from tests.registry_server.conftest import NewBacking
from tests.registry_server.module_bytes import module_files

IMPORTS = """
import sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import *
api = HfApi()
def raises(error, call, *args, **options):
    try:
        call(*args, **options)
    except error as caught:
        return caught
    raise AssertionError(f"{error} was not raised")
"""


@pytest.fixture(scope="module")
def hub(new_backing: NewBacking, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("hub")
    with new_backing() as fresh, serving(home / "data", database=fresh.database, blobs=fresh.blobs) as server:
        yield Hub(server, home, new_token(home / "data", database_url=fresh.database))


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A valid module in a directory."""
    return write(tmp_path / "module", module_files())


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def run_script(hub: Hub, script: str, *arguments: object) -> None:
    done = hub.python(IMPORTS + script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hf_auth_whoami_names_the_user(hub: Hub) -> None:
    done = hub.hf("auth", "whoami")
    assert (done.returncode, "ada" in done.stdout) == (0, True), done.stderr


def test_hf_upload_then_hf_download_gives_the_same_bytes(hub: Hub, module: Path, tmp_path: Path) -> None:
    up = hub.hf("upload", "cli-team/tickets", module, ".")
    assert up.returncode == 0, up.stderr
    down = hub.hf("download", "cli-team/tickets", "--local-dir", tmp_path / "copy")
    assert down.returncode == 0, down.stderr
    assert {path: (tmp_path / "copy" / path).read_bytes() for path in module_files()} == module_files()


def test_hf_upload_of_the_same_files_again_makes_no_commit(hub: Hub, module: Path) -> None:
    for _ in range(2):
        done = hub.hf("upload", "again-team/tickets", module, ".")
        assert done.returncode == 0, done.stderr
    run_script(hub, "assert len(api.list_repo_commits('again-team/tickets')) == 2")


def test_hf_upload_of_a_tampered_module_fails_in_the_servers_words(hub: Hub, module: Path) -> None:
    (module / "head.safetensors").write_bytes(module_files(fill=0.1)["head.safetensors"])
    done = hub.hf("upload", "tampered-team/tickets", module, ".")
    assert done.returncode != 0
    assert "head.safetensors was changed" in done.stdout + done.stderr


def test_hf_models_ls_and_info_find_a_module(hub: Hub, module: Path) -> None:
    assert hub.hf("upload", "listed-team/tickets", module, ".").returncode == 0
    listed = hub.hf("models", "ls", "--search", "listed-team", "--format", "json")
    assert (listed.returncode, "listed-team/tickets" in listed.stdout) == (0, True), listed.stderr
    info = hub.hf("models", "info", "listed-team/tickets")
    assert (info.returncode, "text-classification" in info.stdout) == (0, True), info.stderr


def test_hf_repos_creates_tags_branches_and_deletes(hub: Hub) -> None:
    for arguments in (
        ("create", "repos-team/x"),
        ("tag", "create", "repos-team/x", "v1"),
        ("tag", "list", "repos-team/x"),
        ("branch", "create", "repos-team/x", "dev/new"),
        ("branch", "delete", "repos-team/x", "dev/new"),
        ("tag", "delete", "repos-team/x", "v1", "--yes"),
        ("delete", "repos-team/x", "--yes"),
    ):
        done = hub.hf("repos", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"


def test_published_version_is_kept_from_hf_in_the_servers_words(hub: Hub, module: Path) -> None:
    assert hub.hf("upload", "version-team/x", module, ".").returncode == 0
    wrong = hub.hf("repos", "tag", "create", "version-team/x", "v9.9.9")
    assert (wrong.returncode != 0, "says version 1.0.0" in wrong.stdout + wrong.stderr) == (True, True)
    assert hub.hf("repos", "tag", "create", "version-team/x", "v1.0.0").returncode == 0
    done = hub.hf("repos", "tag", "delete", "version-team/x", "v1.0.0", "--yes")
    assert (done.returncode != 0, "a published version never changes" in done.stdout + done.stderr) == (True, True)


def test_hf_download_pins_channels_and_yanked_versions_and_warns_of_these(
    hub: Hub, module: Path, tmp_path: Path
) -> None:
    script = """
import httpx
from huggingface_hub import constants
team = "yank-team/x"
api.create_repo(team)
api.upload_folder(repo_id=team, folder_path=sys.argv[1])
api.create_tag(team, tag="v1.0.0")
native = f"{constants.ENDPOINT}/api/petapter/v1/modules/{team}"
headers = {"authorization": f"Bearer {api.token or __import__('huggingface_hub').get_token()}"}
assert httpx.put(f"{native}/channels/stable", json={"version": "1.0.0"}, headers=headers).status_code == 200
assert httpx.put(f"{native}/versions/1.0.0/yank", json={"reason": "swapped"}, headers=headers).status_code == 200
shas = {api.model_info(team, revision=revision).sha for revision in ("stable", "v1.0.0")}
copy = Path(api.snapshot_download(team, revision="stable", cache_dir=sys.argv[2]))
assert shas == {copy.name}, shas
assert raises(RevisionNotFoundError, api.model_info, team, revision="latest")
"""
    done = hub.python(IMPORTS + script, module, tmp_path / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "yank-team/x@v1.0.0 was yanked by its maintainers: swapped" in done.stderr


def test_wrong_token_is_told_apart_from_a_missing_repository(hub: Hub) -> None:
    done = Hub(hub.server, hub.home, "hf_wrong").hf("auth", "whoami")
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()


def test_upload_folder_and_snapshot_download(hub: Hub, module: Path, tmp_path: Path) -> None:
    script = """
url = api.create_repo("snap-team/tickets")
assert url.repo_id == "snap-team/tickets", url
assert api.create_repo("snap-team/tickets", exist_ok=True).repo_id == "snap-team/tickets"
done = api.upload_folder(repo_id="snap-team/tickets", folder_path=sys.argv[1], commit_message="First")
copy = Path(api.snapshot_download("snap-team/tickets", cache_dir=sys.argv[2]))
assert copy.name == done.oid
for file in Path(sys.argv[1]).iterdir():
    assert (copy / file.name).read_bytes() == file.read_bytes(), file
"""
    run_script(hub, script, module, tmp_path / "cache")


def test_list_models_and_model_info(hub: Hub, module: Path) -> None:
    script = """
api.create_repo("info-team/tickets")
api.upload_folder(repo_id="info-team/tickets", folder_path=sys.argv[1])
info = api.model_info("info-team/tickets", files_metadata=True)
assert info.pipeline_tag == "text-classification" and info.library_name == "peft"
assert info.card_data.license == "apache-2.0" and "label:very good" in info.tags
sizes = {sibling.rfilename: sibling.size for sibling in info.siblings}
assert sizes["petapter.json"] == (Path(sys.argv[1]) / "petapter.json").stat().st_size
wanted = dict(filter=["petapter", "en"], pipeline_tag="text-classification")
found = list(api.list_models(author="info-team", full=True, **wanted))
assert [model.id for model in found] == ["info-team/tickets"] and found[0].siblings
assert [m.id for m in api.list_models(search="info-team/TICK", sort="last_modified", limit=5)] == ["info-team/tickets"]
assert list(api.list_models(author="info-team", filter="fr")) == []
assert [m.id for m in api.list_models(author="info-team", gated=False, num_parameters="min:1,max:1B")] == [
    "info-team/tickets"]
assert list(api.list_models(author="info-team", gated=True)) == list(api.list_models(apps="ollama")) == []
for sort in ("likes", "trending_score", "downloads", "created_at"):
    assert len(list(api.list_models(author="info-team", sort=sort))) == 1
for number in range(3):
    api.create_repo(f"info-team/repo{number}a")
assert len(list(api.list_models(author="info-team", limit=3))) == 3
assert api.model_info("info-team/tickets", expand=["sha"]).sha == info.sha
"""
    run_script(hub, script, module)


def test_delete_folder_and_delete_files(hub: Hub) -> None:
    script = """
api.create_repo("deleting-team/x")
for path in ("a.txt", "b.txt", "plots/one.csv", "plots/deep/two.csv", "notes/c.txt", "notes/d.txt", "plotsother.txt"):
    api.upload_file(path_or_fileobj=b"1", path_in_repo=path, repo_id="deleting-team/x")
def left():
    return api.list_repo_files("deleting-team/x")
api.delete_folder("plots", "deleting-team/x")
assert left() == [".gitattributes", "a.txt", "b.txt", "notes/c.txt", "notes/d.txt", "plotsother.txt"], left()
api.delete_files("deleting-team/x", ["notes/", "b.txt"])
assert left() == [".gitattributes", "a.txt", "plotsother.txt"], left()
api.delete_file("a.txt", "deleting-team/x")
assert left() == [".gitattributes", "plotsother.txt"], left()
raises(HfHubHTTPError, api.delete_folder, "nothing", "deleting-team/x")
"""
    run_script(hub, script)


def test_tree_refs_commits_and_paths_info(hub: Hub) -> None:
    script = """
api.create_repo("tree-team/x")
for path in ("a.txt", "plots/one.csv"):
    api.upload_file(path_or_fileobj=b"1", path_in_repo=path, repo_id="tree-team/x", commit_message=f"Add {path}")
assert sorted(e.path for e in api.list_repo_tree("tree-team/x", recursive=True)) == [
    ".gitattributes", "a.txt", "plots", "plots/one.csv"]
assert api.list_repo_files("tree-team/x") == [".gitattributes", "a.txt", "plots/one.csv"]
raises(RemoteEntryNotFoundError, list, api.list_repo_tree("tree-team/x", "nope"))
api.create_branch("tree-team/x", branch="dev/new")
api.create_tag("tree-team/x", tag="v1", tag_message="One")
refs = api.list_repo_refs("tree-team/x", include_pull_requests=True)
assert sorted(b.name for b in refs.branches) == ["dev/new", "main"] and [t.name for t in refs.tags] == ["v1"]
api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="tree-team/x", revision="dev/new")
assert api.file_exists("tree-team/x", "a.txt", revision="dev/new")
assert Path(api.hf_hub_download("tree-team/x", "a.txt", revision="dev/new")).read_bytes() == b"2"
assert Path(api.hf_hub_download("tree-team/x", "a.txt", revision="v1")).read_bytes() == b"1"
titles = [c.title for c in api.list_repo_commits("tree-team/x")]
assert titles == ["Add plots/one.csv", "Add a.txt", "initial commit"], titles
(info,) = api.get_paths_info("tree-team/x", ["a.txt", "nope"], expand=True)
assert info.last_commit.title == "Add a.txt"
raises(HfHubHTTPError, api.create_tag, "tree-team/x", tag="v1")
api.create_tag("tree-team/x", tag="v1", exist_ok=True)
api.delete_tag("tree-team/x", tag="v1")
api.delete_branch("tree-team/x", branch="dev/new")
raises(RevisionNotFoundError, api.model_info, "tree-team/x", revision="v1")
"""
    run_script(hub, script)


def test_commit_with_a_stale_parent_is_refused(hub: Hub) -> None:
    script = """
api.create_repo("stale-team/x")
parent = api.model_info("stale-team/x").sha
add = lambda text: [CommitOperationAdd("a.txt", text)]
first = api.create_commit("stale-team/x", add(b"1"), commit_message="One", parent_commit=parent)
error = raises(HfHubHTTPError, api.create_commit, "stale-team/x", add(b"2"), commit_message="Two", parent_commit=parent)
assert error.response.status_code == 412, error
assert api.model_info("stale-team/x").sha == first.oid
gone = [CommitOperationDelete("a.txt")]
api.create_commit("stale-team/x", gone, commit_message="Gone", parent_commit=first.oid)
assert api.list_repo_files("stale-team/x") == [".gitattributes"]
"""
    run_script(hub, script)


def test_what_is_missing_or_not_offered_raises_the_right_errors(hub: Hub) -> None:
    script = """
api.create_repo("odd-team/x", private=True)
raises(RepositoryNotFoundError, HfApi(token=False).model_info, "odd-team/x")
raises(RepositoryNotFoundError, api.model_info, "odd-team/nothing")
assert not api.repo_exists("odd-team/nothing") and api.repo_exists("odd-team/x")
assert not api.file_exists("odd-team/x", "config.json")
api.auth_check("odd-team/x")
def upload(data, **options):
    api.upload_file(path_or_fileobj=data, path_in_repo="a.txt", repo_id="odd-team/x", **options)
error = raises(HfHubHTTPError, upload, b"1", create_pr=True)
assert error.response.status_code == 501 and "pull requests" in str(error), error
api.delete_repo("odd-team/x")
api.delete_repo("odd-team/x", missing_ok=True)
error = raises(HfHubHTTPError, api.create_repo, "odd-team/x", exist_ok=True)
assert error.response.status_code == 410 and "never given out again" in str(error), error
"""
    run_script(hub, script)


def test_repository_is_renamed_squashed_gated_and_listed(hub: Hub) -> None:
    script = """
api.create_repo("life-team/a")
for data in (b"1", b"2"):
    api.upload_file(path_or_fileobj=data, path_in_repo="a.txt", repo_id="life-team/a")
api.move_repo("life-team/a", "life-team/b")
assert api.model_info("life-team/a").id == "life-team/b"
api.super_squash_history("life-team/a", commit_message="one")
assert [commit.title for commit in api.list_repo_commits("life-team/b")] == ["one"]
api.update_repo_settings("life-team/b", gated="manual")
raises(GatedRepoError, HfApi(token=False).hf_hub_download, "life-team/b", "a.txt")
assert api.model_info("life-team/b").gated == "manual"
assert list(api.list_pending_access_requests("life-team/b")) == []
raises(HfHubHTTPError, api.grant_access, "life-team/b", "nobody-here")
assert "life-team/b" in [found.id for found in api.list_user_repos()]
"""
    run_script(hub, script)


def test_peft_saves_and_loads_an_adapter_by_its_name(hub: Hub, tmp_path: Path) -> None:
    script = """
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import BertConfig, BertForMaskedLM
def base():
    torch.manual_seed(0)
    config = dict(vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = BertForMaskedLM(BertConfig(**config)).eval()
    model.save_pretrained(sys.argv[1])
    return BertForMaskedLM.from_pretrained(sys.argv[1]).eval()
adapted = get_peft_model(base(), LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)).eval()
adapted.save_pretrained(sys.argv[2])
api.create_repo("peft-team/folder")
api.upload_folder(repo_id="peft-team/folder", folder_path=sys.argv[2])
adapted.push_to_hub("peft-team/pushed")
ids = torch.arange(6)[None]
expected = adapted(input_ids=ids).logits
assert not torch.allclose(expected, base()(input_ids=ids).logits)
for name in ("peft-team/folder", "peft-team/pushed"):
    loaded = PeftModel.from_pretrained(base(), name).eval()
    assert torch.equal(loaded(input_ids=ids).logits, expected), name
"""
    run_script(hub, script, tmp_path / "base", tmp_path / "adapter")


def test_login_by_browser_of_the_client_gets_a_token(hub: Hub) -> None:
    run_script(
        hub,
        """
from huggingface_hub.utils import get_session
from huggingface_hub.utils._oauth_device import poll_device_token, request_device_code
device = request_device_code()
address = device["verification_uri"].replace("/oauth/device", f"/api/petapter/v1/devices/{device['user_code']}/approve")
assert get_session().post(address, headers={"Authorization": f"Bearer {sys.argv[1]}"}).status_code == 200
assert HfApi(token=poll_device_token(device)["access_token"]).whoami()["name"] == "ada"
""",
        hub.token,
    )
