"""What a push sends, beside what the Hub's own client sent for the same files: its requests are recorded and compared.

No machine of ours reaches the Hub; what its client says is what the Hub understands.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from tests.hub_client.conftest import Petapter, Registry
from tests.hub_client.test_push_resumes import LARGE, wide
from tests.registry_server.recording_proxy import Proxy, Seen, recording_proxy

__all__ = ["wide"]  # the fixture

_NATIVE = "/api/petapter/"
"""What a registry is asked beyond the Hub's protocol; the Hub answers 404 there, and the client does without."""


@pytest.fixture
def proxy(lab: Petapter, registry: Registry) -> Iterator[Proxy]:
    """The registry as the remote `recorded`."""
    with recording_proxy(registry.url) as running:
        lab("remote", "add", "recorded", running.url)
        lab("login", "recorded", "--token", registry.token)
        running.seen.clear()
        yield running


def sent(seen: list[Seen], repo_id: str) -> dict[tuple[str, str], Seen]:
    """Requests that change something, or ask what to send, by method and address without what differs each time."""
    found = {}
    for each in seen:
        path = each.path.partition("?")[0].replace(repo_id, "NAME")
        path = re.sub(r"/api/uploads/.+", "/api/uploads/SIGNED", path)
        if each.method in {"POST", "PUT"} and not path.startswith(_NATIVE):
            found[each.method, path] = each
    return found


def commit_lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def by_path(lines: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {line["value"]["path"]: line["value"] for line in lines if line["key"] == key}


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub gives httpx bytes as data
def test_push_sends_what_the_hubs_own_client_sends_for_the_same_files(
    lab: Petapter, proxy: Proxy, registry: Registry, wide: Path, repo_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab("push", wide, f"recorded:{repo_id}", "-q").code == 0
    ours = sent(proxy.seen, repo_id)
    proxy.seen.clear()
    fetched = Path(lab("pull", f"recorded:{repo_id}", "--json").json["directory"])  # with the card that push wrote
    proxy.seen.clear()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    other, api = f"{repo_id}-by-hf", HfApi(endpoint=proxy.url, token=registry.token)
    api.create_repo(other)
    api.upload_folder(repo_id=other, folder_path=fetched)
    api.create_tag(other, tag="v1.0.0")
    theirs = sent(proxy.seen, other)

    addresses = {
        ("POST", "/api/repos/create"),
        ("POST", "/api/models/NAME/preupload/main"),
        ("POST", "/NAME.git/info/lfs/objects/batch"),
        ("PUT", "/api/uploads/SIGNED"),
        ("POST", "/api/models/NAME/commit/main"),
    }
    assert addresses <= ours.keys()
    assert addresses <= theirs.keys()
    asked, told = (json.loads(each["POST", "/api/models/NAME/preupload/main"].body) for each in (ours, theirs))
    assert {entry["path"]: entry for entry in asked["files"]} == {
        entry["path"]: entry for entry in told["files"] if entry["path"] in {file["path"] for file in asked["files"]}
    }
    asked, told = (json.loads(each["POST", "/NAME.git/info/lfs/objects/batch"].body) for each in (ours, theirs))
    assert asked["objects"] == told["objects"]
    assert (asked["operation"], asked["hash_algo"]) == (told["operation"], told["hash_algo"])
    assert set(asked["transfers"]) <= set(told["transfers"])

    commits = [each["POST", "/api/models/NAME/commit/main"] for each in (ours, theirs)]
    assert [each.headers["content-type"] for each in commits] == ["application/x-ndjson"] * 2
    mine, hubs = (commit_lines(each.body) for each in commits)
    assert mine[0]["key"] == hubs[0]["key"] == "header"
    assert mine[0]["value"].keys() - {"parentCommit"} == hubs[0]["value"].keys() - {"parentCommit"}
    assert by_path(mine, "lfsFile")[LARGE] == by_path(hubs, "lfsFile")[LARGE]
    small = by_path(mine, "file")
    assert small
    assert small == {path: value for path, value in by_path(hubs, "file").items() if path in small}
