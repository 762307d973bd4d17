"""Released clients of the Hugging Face Hub, each in an environment of its own, against one server process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry_process import Hub, new_token, serving
from tests.registry_server.module_bytes import safetensors

VERSIONS = ("0.36.2", "1.10.2", "1.28.0")
"""The last that speaks through requests, one that negotiates Xet, and one that sends large files by Xet alone."""
INSTALL_S = 300

SCRIPT = """
import sys
from pathlib import Path
import huggingface_hub
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
version, source, home = sys.argv[1:]
assert huggingface_hub.__version__ == version, huggingface_hub.__version__
api, repo = HfApi(), "old-team/" + version
assert api.whoami()["name"] == "ada"
api.create_repo(repo, private=True)
assert api.create_repo(repo, exist_ok=True).repo_id == repo
try:
    HfApi(token=False).model_info(repo)
    raise AssertionError("a private repository was shown")
except RepositoryNotFoundError:
    pass
api.upload_folder(folder_path=source, repo_id=repo)
first = api.model_info(repo)
api.upload_folder(folder_path=source, repo_id=repo)
assert api.model_info(repo).sha == first.sha, "the same files made a commit"
copy = Path(snapshot_download(repo, cache_dir=home + "/cache"))
for file in Path(source).rglob("*"):
    if file.is_file():
        assert (copy / file.relative_to(source)).read_bytes() == file.read_bytes(), file
head = api.create_commit(repo, [CommitOperationAdd("notes.txt", b"more")], commit_message="more").oid
try:
    late = [CommitOperationAdd("notes.txt", b"late")]
    api.create_commit(repo, late, commit_message="late", parent_commit=first.sha)
    raise AssertionError("a commit to an old parent was taken")
except HfHubHTTPError as error:
    assert error.response.status_code == 412, error
api.create_tag(repo, tag="v1.0.0", revision=head[:7])
assert Path(hf_hub_download(repo, "notes.txt", revision="v1.0.0", cache_dir=home + "/cache")).read_bytes() == b"more"
assert [ref.name for ref in api.list_repo_refs(repo).tags] == ["v1.0.0"]
assert [model.id for model in api.list_models(author="old-team", search=version)] == [repo]
assert {entry.path for entry in api.list_repo_tree(repo)} >= {"notes.txt", "deep", "large.safetensors"}
api.move_repo(repo, repo + "-moved")
assert Path(hf_hub_download(repo, "notes.txt", cache_dir=home + "/again")).read_bytes() == b"more"
api.delete_repo(repo + "-moved")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("older")
    with serving(home / "data") as server:
        yield Hub(server, home, new_token(home / "data"))


def installed(version: str, directory: Path) -> Path:
    """A Python with this client and nothing else of ours."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True, timeout=INSTALL_S)
    python = directory / "bin/python"
    command = [python, "-m", "pip", "install", "--quiet", f"huggingface_hub=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    if done.returncode != 0:
        pytest.skip(f"huggingface_hub {version} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.parametrize("version", VERSIONS)
def test_client_of_an_older_version_does_what_it_always_did(hub: Hub, tmp_path: Path, version: str) -> None:
    python = installed(version, tmp_path / "client")
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    (source / "deep/small.txt").write_text("small")
    (source / "large.safetensors").write_bytes(safetensors({"weight": (3072, 1024)}))  # 12 MiB: apart from the commit
    env = {key: value for key, value in hub.env.items() if key != "PYTHONPATH"} | {"HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [python, "-c", SCRIPT, version, source, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=env,
    )
    assert done.returncode == 0, done.stderr
