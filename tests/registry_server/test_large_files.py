"""Files that come apart from commits: by LFS at the wire, and by the real clients with LFS and Xet."""

import os
import shutil
import struct
from collections.abc import Iterator
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.services.uploads import PART_BYTES
from petapter_registry_server.services.xet_hashes import xorb_hash
from tests.registry_process import Hub, new_token, serving
from tests.registry_server.conftest import Backing, Caller, Registry, commit_body, member_of_team, running
from tests.registry_server.module_bytes import safetensors


@pytest.fixture
def registry(tmp_path: Path, backing: Backing) -> Iterator[Registry]:
    """Files above 1,000 bytes travel apart."""
    with running(backing.settings(tmp_path / "data", max_inline_bytes=1000, max_file_bytes=40 << 20)) as opened:
        yield opened


@pytest.fixture
def team(registry: Registry) -> Caller:
    return member_of_team(registry)


LARGE = safetensors({"weight": (50, 10)})
OID = sha256(LARGE).hexdigest()


def batch(caller: Caller, *objects: dict[str, Any], transfers: tuple[str, ...] = ("basic",)) -> Any:
    body = {"operation": "upload", "transfers": list(transfers), "objects": list(objects), "hash_algo": "sha256"}
    return caller.call("POST", "/team/tickets.git/info/lfs/objects/batch", json=body)


def wanted(data: bytes) -> dict[str, Any]:
    return {"oid": sha256(data).hexdigest(), "size": len(data)}


def put(registry: Registry, href: str, data: bytes) -> Any:
    """Clients send no token to signed addresses."""
    return registry.anonymous.call("PUT", href, content=data)


def link(caller: Caller, path: str, oid: str, size: int | None = None, repo_id: str = "team/tickets") -> Any:
    number = "" if size is None else f',"size":{size}'
    line = f'{{"key":"lfsFile","value":{{"path":"{path}","algo":"sha256","oid":"{oid}"{number}}}}}\n'
    return caller.call("POST", f"/api/models/{repo_id}/commit/main", content=commit_body({}) + line.encode())


def send(registry: Registry, team: Caller, data: bytes) -> None:
    answer = batch(team, wanted(data)).json()
    assert put(registry, answer["objects"][0]["actions"]["upload"]["href"], data).status_code == 200


def test_preupload_sends_long_files_apart(team: Caller) -> None:
    files = [{"path": "a.txt", "size": 1000, "sample": ""}, {"path": "b.safetensors", "size": 1001, "sample": ""}]
    answer = team.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files}).json()
    assert [file["uploadMode"] for file in answer["files"]] == ["regular", "lfs"]


def test_file_sent_by_lfs_is_in_the_tree_with_its_pointer_and_its_digest(registry: Registry, team: Caller) -> None:
    send(registry, team, LARGE)
    assert link(team, "w.safetensors", OID, len(LARGE)).status_code == 200
    (entry,) = [e for e in team.get("/api/models/team/tickets/tree/main").json() if e["path"] == "w.safetensors"]
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(LARGE)}\n".encode()
    assert entry["lfs"] == {"oid": OID, "size": len(LARGE), "pointerSize": len(pointer)}
    assert entry["oid"] == git_blob(pointer)
    answer = team.get("/team/tickets/resolve/main/w.safetensors")
    assert (answer.content, answer.headers["ETag"]) == (LARGE, f'"{OID}"')
    (sibling,) = [s for s in team.get("/api/models/team/tickets?blobs=true").json()["siblings"] if "lfs" in s]
    assert sibling["lfs"]["sha256"] == OID


def git_blob(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def test_what_the_repository_has_is_not_asked_for_again(registry: Registry, team: Caller) -> None:
    send(registry, team, LARGE)
    assert "actions" not in batch(team, wanted(LARGE)).json()["objects"][0]
    link(team, "w.safetensors", OID)
    files = [{"path": "w.safetensors", "size": len(LARGE), "sample": ""}]
    answer = team.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files}).json()
    assert answer["files"][0]["oid"] == OID


def test_digest_of_another_repository_gives_no_right_to_its_bytes(registry: Registry, team: Caller) -> None:
    send(registry, team, LARGE)
    grace = registry.caller("grace")
    grace.create("lab/own")
    answer = link(grace, "w.safetensors", OID, repo_id="lab/own")
    assert answer.status_code == 400
    assert "were not sent to this repository" in answer.json()["error"]


@pytest.mark.parametrize("data", [LARGE[:-1], LARGE + b"x", LARGE[:-1] + b"y", b""])
def test_other_bytes_than_announced_are_refused(registry: Registry, team: Caller, data: bytes) -> None:
    href = batch(team, wanted(LARGE)).json()["objects"][0]["actions"]["upload"]["href"]
    assert put(registry, href, data).status_code in {400, 413}
    assert link(team, "w.safetensors", OID).status_code == 400


def test_address_is_good_for_what_it_was_made_for_alone(registry: Registry, team: Caller) -> None:
    href = batch(team, wanted(LARGE)).json()["objects"][0]["actions"]["upload"]["href"]
    assert registry.anonymous.call("POST", href, content=b"").status_code == 403
    assert put(registry, href[:-3] + "AAA", LARGE).status_code == 403
    assert put(registry, "/api/uploads/nonsense", LARGE).status_code == 403


def test_commit_that_says_another_size_is_refused(registry: Registry, team: Caller) -> None:
    send(registry, team, LARGE)
    assert link(team, "w.safetensors", OID, 7).status_code == 400


def test_file_sent_apart_is_checked_by_its_kind(registry: Registry, team: Caller) -> None:
    data = b"\x80\x04nonsense" * 200
    send(registry, team, data)
    answer = link(team, "w.safetensors", sha256(data).hexdigest())
    assert answer.status_code == 400
    assert "w.safetensors" in answer.json()["error"]


def test_verify_tells_whether_bytes_arrived(registry: Registry, team: Caller) -> None:
    verify = "/team/tickets.git/info/lfs/verify"
    assert team.call("POST", verify, json=wanted(LARGE)).status_code == 400
    send(registry, team, LARGE)
    assert team.call("POST", verify, json=wanted(LARGE)).status_code == 200


def test_too_large_a_file_is_refused_in_its_place(team: Caller) -> None:
    answer = batch(team, {"oid": OID, "size": 41 << 20}, wanted(LARGE)).json()["objects"]
    assert answer[0]["error"]["code"] == 413
    assert "actions" in answer[1]


def test_strangers_get_no_addresses(registry: Registry, team: Caller) -> None:
    assert batch(registry.caller("grace"), wanted(LARGE)).status_code == 403
    assert batch(registry.anonymous, wanted(LARGE)).status_code == 401
    del team


def test_parts_make_the_file_in_any_order(registry: Registry, team: Caller) -> None:
    data = os.urandom(PART_BYTES + 5)
    upload = batch(team, wanted(data), transfers=("basic", "multipart")).json()["objects"][0]["actions"]["upload"]
    header = upload["header"]
    assert header["chunk_size"] == str(PART_BYTES)
    complete = {"oid": sha256(data).hexdigest(), "parts": []}
    assert put(registry, header["00002"], data[PART_BYTES:]).headers["ETag"]
    early = registry.anonymous.call("POST", upload["href"], json=complete)
    assert (early.status_code, "part 1 is missing" in early.json()["error"]) == (400, True)
    assert put(registry, header["00001"], data[: PART_BYTES - 1]).status_code == 400
    assert put(registry, header["00001"], data[:PART_BYTES]).status_code == 200
    assert registry.anonymous.call("POST", upload["href"], json=complete).status_code == 200
    assert "actions" not in batch(team, wanted(data)).json()["objects"][0]


def test_parts_that_arrived_are_named_to_whoever_asks_again(registry: Registry, team: Caller) -> None:
    data = os.urandom(2 * PART_BYTES + 5)

    def header() -> dict[str, str]:
        (told,) = batch(team, wanted(data), transfers=("basic", "multipart")).json()["objects"]
        found: dict[str, str] = told["actions"]["upload"]["header"]
        return found

    assert header()["arrived"] == ""
    second = data[PART_BYTES : 2 * PART_BYTES]
    put(registry, header()["00002"], second)
    again = header()
    assert again["arrived"] == f"2:{sha256(second).hexdigest()}"
    assert [name for name in again if name.isdigit()] == ["00001", "00002", "00003"]


WORDS = b"some words that somebody wrote\n" * 40
XORB = xorb_hash([WORDS])


def numbers(hexadecimal: str) -> bytes:
    """A hash as Xet's files hold it."""
    return b"".join(struct.pack("<Q", int(hexadecimal[at : at + 16], 16)) for at in range(0, 64, 16))


def send_shard(caller: Caller, repo_id: str) -> int:
    """Say that the block XORB makes a file of the repository."""
    token = caller.get(f"/api/models/{repo_id}/xet-write-token/main").json()["accessToken"]
    file = struct.pack("<32sIIQ", b"\1" * 32, 1 << 30, 1, 0)
    segment = struct.pack("<32sIIII", numbers(XORB), 0, len(WORDS), 0, 1)
    digest = numbers(sha256(WORDS).hexdigest()) + b"\0" * 16
    shard = b"HFRepoMetaData".ljust(48, b"\0") + file + segment + digest + b"\xff" * 32 + b"\0" * 16
    headers = {"authorization": f"Bearer {token}"}
    status: int = caller.client.post("/api/xet/v1/shards", content=shard, headers=headers).status_code
    return status


def send_block(caller: Caller, repo_id: str, data: bytes) -> Any:
    """Send a block of one chunk under the name XORB."""
    token = caller.get(f"/api/models/{repo_id}/xet-write-token/main").json()["accessToken"]
    chunk = b"\0" + len(data).to_bytes(3, "little") + b"\0" + len(data).to_bytes(3, "little") + data
    headers = {"authorization": f"Bearer {token}"}
    return caller.client.post(f"/api/xet/v1/xorbs/default/{XORB}", content=chunk, headers=headers)


def test_block_under_the_name_of_another_is_refused_and_spoils_nothing(registry: Registry, team: Caller) -> None:
    eve, grace = registry.caller("eve"), registry.caller("grace")
    eve.create("trap/open")
    grace.create("lab/own")
    refused = send_block(eve, "trap/open", WORDS.swapcase())
    assert (refused.status_code, "its chunks make" in refused.json()["error"]) == (400, True)
    assert send_block(team, "team/tickets", WORDS).json() == {"was_inserted": True}
    assert send_shard(eve, "trap/open") == 200  # of the true block, which all may read
    assert send_shard(grace, "lab/own") == 200
    assert link(grace, "w.txt", sha256(WORDS).hexdigest(), repo_id="lab/own").status_code == 200
    assert grace.get("/lab/own/resolve/main/w.txt").content == WORDS


@pytest.fixture
def block(team: Caller) -> None:
    """A block that was sent for `team/tickets`."""
    assert send_block(team, "team/tickets", WORDS).json() == {"was_inserted": True}
    assert send_shard(team, "team/tickets") == 200


@pytest.mark.usefixtures("block")
def test_block_of_a_repository_that_all_may_read_is_taken_from_there(registry: Registry) -> None:
    grace = registry.caller("grace")
    grace.create("lab/own")
    assert send_shard(grace, "lab/own") == 200
    assert link(grace, "w.txt", sha256(WORDS).hexdigest(), repo_id="lab/own").status_code == 200


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("hidden", [{"visibility": "private"}, {"gated": "manual"}])
def test_name_of_a_block_gives_no_right_to_bytes_that_are_not_for_all(
    registry: Registry, team: Caller, hidden: dict[str, str]
) -> None:
    assert team.call("PUT", "/api/models/team/tickets/settings", json=hidden).status_code == 200
    grace = registry.caller("grace")
    grace.create("lab/own")
    assert send_shard(grace, "lab/own") == 400
    assert link(grace, "w.txt", sha256(WORDS).hexdigest(), repo_id="lab/own").status_code == 400


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("large")
    with serving(home / "data") as server:
        yield Hub(server, home, new_token(home / "data"))


def directory(path: Path, rows: int) -> Path:
    """One safetensors file of 4 * rows KiB that packs neither well nor badly, and a card."""
    path.mkdir()
    data = bytearray(safetensors({"weight": (rows, 1024)}))
    data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    (path / "model.safetensors").write_bytes(data)
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    return path


def test_hf_uploads_large_files_by_xet(hub: Hub, tmp_path: Path) -> None:
    source = directory(tmp_path / "source", 3072)
    up = hub.hf("upload", "xet-team/large", source, ".")
    assert up.returncode == 0, up.stderr
    assert "/api/xet/v1/shards" in hub.server.log
    down = hub.hf("download", "xet-team/large", "--local-dir", tmp_path / "copy")
    assert down.returncode == 0, down.stderr
    assert (tmp_path / "copy/model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_xet_client_that_remembers_its_blocks_uploads_to_another_repository(hub: Hub, tmp_path: Path) -> None:
    source = directory(tmp_path / "source", 3072)
    assert hub.hf("upload", "xet-team/first", source, ".").returncode == 0
    again = hub.hf("upload", "xet-team/second", source, ".")
    assert again.returncode == 0, again.stderr
    shutil.rmtree(hub.home / "xet", ignore_errors=True)


@pytest.mark.parametrize("rows", [3072, 5000])  # 12 MiB in one piece, 19.5 MiB in parts
def test_hf_uploads_large_files_by_lfs(hub: Hub, tmp_path: Path, rows: int) -> None:
    source = directory(tmp_path / "source", rows)
    script = (
        "import sys; from huggingface_hub import HfApi; api = HfApi(); api.create_repo(sys.argv[2], exist_ok=True);\n"
    )
    script += (
        "api.upload_file(path_or_fileobj=open(sys.argv[1], 'rb'), path_in_repo='m.safetensors', repo_id=sys.argv[2])"
    )
    done = hub.python(script, source / "model.safetensors", f"lfs-team/large-{rows}")
    assert done.returncode == 0, done.stderr
    down = hub.hf("download", f"lfs-team/large-{rows}", "--local-dir", tmp_path / "copy")
    assert (tmp_path / "copy/m.safetensors").read_bytes() == (source / "model.safetensors").read_bytes(), down.stderr
