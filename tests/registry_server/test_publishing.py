import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from petapter_registry_server.db.tables import ManifestRow
from petapter_schemas.digests import git_blob_sha1, sha256_bytes
from petapter_schemas.manifest import manifest_bytes
from tests.registry_server.conftest import Caller, Registry, commit_body
from tests.registry_server.module_bytes import manifest_for, module_files

STALE = "The branch was updated since you opened this page. Please refresh and try again."


def scratch_is_empty(registry: Registry) -> bool:
    return registry.files_in_scratch() == []


def test_module_is_stored_under_its_digests(registry: Registry, team: Caller) -> None:
    files = module_files()
    team.published("team/tickets", files)
    for data in files.values():
        assert registry.stored(data) == data
    assert scratch_is_empty(registry)


def test_commit_answers_with_an_address_on_the_clients_host(team: Caller) -> None:
    answer = team.commit("team/tickets", module_files()).json()
    assert answer["success"] is True
    assert answer["commitUrl"] == f"http://registry.test/team/tickets/commit/{answer['commitOid']}"


def test_verified_manifest_is_indexed(registry: Registry, team: Caller) -> None:
    files = module_files(version="1.2.3")
    oid = team.published("team/tickets", files)
    with registry.app.state.database.read() as session:
        row = session.get_one(ManifestRow, oid)
    assert (row.name, row.version, row.digest) == ("tickets", "1.2.3", sha256_bytes(files["petapter.json"]))
    assert row.labels == ["very good", "poor"]
    assert row.metrics[0]["metric"] == "accuracy"


def test_tampered_file_is_refused_and_nothing_is_visible(registry: Registry, team: Caller) -> None:
    before = team.head("team/tickets")
    files = module_files() | {"head.safetensors": module_files(fill=0.25)["head.safetensors"]}
    answer = team.commit("team/tickets", files)
    assert answer.status_code == 400
    assert "head.safetensors was changed" in answer.json()["error"]
    assert team.head("team/tickets") == before
    assert team.paths("team/tickets") == [".gitattributes"]
    assert scratch_is_empty(registry)
    assert registry.stored(files["head.safetensors"]) is None


def test_manifest_that_contradicts_the_tensors_is_refused(registry: Registry, team: Caller) -> None:
    files = module_files()
    manifest = manifest_for({k: v for k, v in files.items() if k != "petapter.json"}, name="tickets", version="1.0.0")
    adapter = manifest.adapter.model_copy(update={"parameters": 17})
    files["petapter.json"] = manifest_bytes(manifest.model_copy(update={"adapter": adapter}))
    answer = team.commit("team/tickets", files)
    assert answer.status_code == 400
    assert "adapter_model.safetensors holds 16 numbers; the manifest says 17" in answer.json()["error"]
    assert team.paths("team/tickets") == [".gitattributes"]
    assert scratch_is_empty(registry)


def test_module_that_lacks_a_listed_file_is_refused(team: Caller) -> None:
    files = module_files()
    del files["golden.json"]
    answer = team.commit("team/tickets", files)
    assert (answer.status_code, "golden.json is listed" in answer.json()["error"]) == (400, True)


def test_removing_a_listed_file_of_a_module_is_refused(team: Caller) -> None:
    team.published("team/tickets", module_files())
    answer = team.commit("team/tickets", {}, deleted=["head.safetensors"])
    assert answer.status_code == 400


def test_unlisted_weights_beside_a_module_are_refused(team: Caller) -> None:
    files = module_files()
    answer = team.commit("team/tickets", files | {"model.safetensors": files["head.safetensors"]})
    assert answer.status_code == 400
    assert "model.safetensors is not listed" in answer.json()["error"]


def test_next_version_replaces_and_deletes_files(team: Caller) -> None:
    team.published("team/tickets", module_files() | {"notes.txt": b"old"})
    team.published("team/tickets", module_files(version="1.1.0", fill=0.1), deleted=["notes.txt"])
    assert "notes.txt" not in team.paths("team/tickets")


def test_plain_peft_repository_is_accepted(team: Caller) -> None:
    files = {path: data for path, data in module_files().items() if path.startswith(("adapter", "README"))}
    team.published("team/tickets", files)
    assert set(team.paths("team/tickets")) == {*files, ".gitattributes"}


@pytest.mark.parametrize(
    "path",
    [
        "../evil.txt",
        "/etc/evil.txt",
        "a/../../evil.txt",
        "a\\evil.txt",
        "C:evil.txt",
        "con.txt",
        "a\u0000.txt",
        "a//b.txt",
    ],
)
def test_unsafe_path_is_refused(team: Caller, path: str) -> None:
    for answer in (team.commit("team/tickets", {path: b"x"}), team.commit("team/tickets", {}, deleted=[path])):
        assert answer.status_code == 422
        assert "not allowed" in answer.json()["error"]


@pytest.mark.parametrize("key", ["deletedFile", "deletedFolder"])
@pytest.mark.parametrize("path", ["plots", "plots/"])
def test_folder_is_deleted_by_either_key_and_what_only_begins_like_it_stays(team: Caller, key: str, path: str) -> None:
    team.published("team/tickets", {"plots/a.csv": b"1", "plots/deep/b.csv": b"2", "plots.csv": b"3"})
    line = json.dumps({"key": key, "value": {"path": path}}).encode()
    answer = team.call("POST", "/api/models/team/tickets/commit/main", content=commit_body({}) + line)
    assert answer.status_code == 200, answer.text
    assert team.paths("team/tickets") == [".gitattributes", "plots.csv"]


@pytest.mark.parametrize("path", ["model.bin", "model.pt", "model.pkl", "code.py", "archive.zip", "noextension"])
def test_kind_of_file_that_is_not_stored_is_refused(team: Caller, path: str) -> None:
    answer = team.commit("team/tickets", {path: b"x"})
    assert answer.status_code == 400
    assert "not stored" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("pickle.json", b"\x80\x04\x95\x00\x00\x00."),
        ("zip.txt", b"PK\x03\x04\x14\x00\x00"),
        ("gzip.csv", b"\x1f\x8b\x08abc"),
        ("fake.png", b"GIF89a"),
        ("model.safetensors", b"\x80\x04pickle"),
    ],
)
def test_bytes_that_are_not_what_the_name_says_are_refused(team: Caller, path: str, data: bytes) -> None:
    assert team.commit("team/tickets", {path: data}).status_code == 400


def test_paths_that_differ_only_in_case_are_refused(team: Caller) -> None:
    assert team.commit("team/tickets", {"a.txt": b"1", "A.txt": b"2"}).status_code == 400


def test_path_that_is_file_and_folder_is_refused(team: Caller) -> None:
    assert team.commit("team/tickets", {"a.txt": b"1", "a.txt/b.txt": b"2"}).status_code == 400


def test_card_whose_metadata_cannot_be_read_is_refused(team: Caller) -> None:
    answer = team.commit("team/tickets", {"README.md": b"---\nlicense: [apache\n---\n"})
    assert answer.status_code == 400
    assert "README.md" in answer.json()["error"]


def test_stale_parent_is_refused_with_the_words_that_clients_match(team: Caller) -> None:
    first = team.head("team/tickets")
    team.published("team/tickets", {"a.txt": b"1"}, parent=first)
    answer = team.commit("team/tickets", {"a.txt": b"2"}, parent=first)
    assert (answer.status_code, answer.json()["error"]) == (412, STALE)
    assert answer.headers["X-Error-Message"] == STALE


def test_abbreviated_parent_is_understood(team: Caller) -> None:
    parent = team.head("team/tickets")[:7]
    team.published("team/tickets", {"a.txt": b"1"}, parent=parent)


def test_pushing_the_same_files_again_makes_no_commit(team: Caller) -> None:
    first = team.published("team/tickets", module_files())
    assert team.published("team/tickets", module_files(), parent=first) == first


def test_commit_sent_again_after_a_lost_answer_gives_the_same_commit(team: Caller) -> None:
    parent = team.head("team/tickets")
    first = team.published("team/tickets", module_files(), parent=parent)
    assert team.published("team/tickets", module_files(), parent=parent) == first


def test_concurrent_commits_on_one_parent_have_exactly_one_winner(team: Caller) -> None:
    parent = team.head("team/tickets")

    def push(number: int) -> int:
        status: int = team.commit("team/tickets", {"a.txt": b"%d" % number}, parent=parent).status_code
        return status

    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(threads.map(push, range(8)))
    assert statuses == [200] + [412] * 7
    assert len(team.get("/api/models/team/tickets/commits/main").json()) == 2


def test_concurrent_commits_without_a_parent_all_survive(team: Caller) -> None:
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda n: team.commit("team/tickets", {f"{n}.txt": b"x"}), range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert {"0.txt", "1.txt", "2.txt"} <= set(team.paths("team/tickets"))


def test_commit_to_a_revision_that_is_no_branch_is_not_found(team: Caller) -> None:
    oid = team.head("team/tickets")
    for revision in ("nope", oid):
        answer = team.commit("team/tickets", {"a.txt": b"1"}, branch=revision)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense\n",
        b'{"key":"header","value":{"summary":"x"},"key":"header"}\n',
        b'{"key":"header","value":{"summary":"x"}}\n{"key":"other","value":{}}\n',
        b'{"key":"header","value":{"summary":"\\ud800"}}\n{"key":"file","value":{"path":"a.txt","content":"eA==","encoding":"base64"}}\n',
        b'{"key":"header","value":{"summary":"x"}}\n{"key":"file","value":{"path":"a.txt","content":"@@","encoding":"base64"}}\n',
        b'{"key":"header","value":{"summary":"x"}}\n{"key":"file","value":{"path":"a.txt","content":"\xc3\xa4==","encoding":"base64"}}\n',
        b'{"key":"file","value":{"path":"a.txt","content":"eA==","encoding":"base64"}}\n',
    ],
)
def test_malformed_body_is_a_clear_400(team: Caller, body: bytes) -> None:
    answer = team.call("POST", "/api/models/team/tickets/commit/main", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_pull_request_is_refused_in_words(team: Caller) -> None:
    answer = team.call("POST", "/api/models/team/tickets/commit/main?create_pr=1", content=commit_body({"a.txt": b"1"}))
    assert answer.status_code == 501
    assert "pull requests" in answer.headers["X-Error-Message"]


def test_preupload_names_what_is_there(team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"1"})
    files = [{"path": path, "size": 1, "sample": ""} for path in ("a.txt", "b.txt")]
    answer = team.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files}).json()
    assert answer["files"] == [
        {"path": "a.txt", "uploadMode": "regular", "shouldIgnore": False, "oid": git_blob_sha1(b"1")},
        {"path": "b.txt", "uploadMode": "regular", "shouldIgnore": False},
    ]


def test_preupload_refuses_a_file_above_the_limit(small_registry: Registry) -> None:
    small_registry.admin.create("team/tickets")
    files = [{"path": "a.txt", "size": 1001, "sample": ""}]
    answer = small_registry.admin.call("POST", "/api/models/team/tickets/preupload/main", json={"files": files})
    assert answer.status_code == 413
    assert "up to 1000 bytes" in answer.json()["error"]


@pytest.mark.parametrize("size", [1001, 20_000])
def test_commit_with_a_file_above_the_limit_is_refused(small_registry: Registry, size: int) -> None:
    small_registry.admin.create("team/tickets")
    answer = small_registry.admin.commit("team/tickets", {"a.txt": b"x" * size})
    assert answer.status_code == 413
    assert "bytes" in answer.json()["error"]
    assert scratch_is_empty(small_registry)


def test_commit_of_too_many_files_is_refused(small_registry: Registry) -> None:
    small_registry.admin.create("team/tickets")
    answer = small_registry.admin.commit("team/tickets", {f"{n}.txt": b"x" for n in range(4)})
    assert answer.status_code == 413
    assert "5 files" in answer.json()["error"]


def test_pushing_again_heals_a_damaged_blob(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"good"})
    registry.damage(b"good", b"evil")
    team.published("team/tickets", {"b.txt": b"good"})
    assert team.get("/team/tickets/resolve/main/a.txt").content == b"good"


def test_every_change_leaves_an_audit_row(registry: Registry, team: Caller) -> None:
    team.published("team/tickets", {"a.txt": b"1"})
    rows = registry.rows("select actor, action, subject from audit where actor = 'ada' order by id")
    assert rows == [
        ("ada", "namespace.create", "team"),
        ("ada", "repository.create", "team/tickets"),
        ("ada", "commit", "team/tickets"),
    ]


def test_commit_without_a_byte_has_no_header(team: Caller) -> None:
    answer = team.call("POST", "/api/models/team/tickets/commit/main", content=b"")
    assert (answer.status_code, answer.json()["error"]) == (400, "the commit has no header line")


def test_empty_lines_and_a_last_line_without_an_end_are_taken(team: Caller) -> None:
    header, file = commit_body({"a.txt": b"a\n"}).splitlines()
    body = b"\n".join([b"", header, b" \r", file])
    assert team.call("POST", "/api/models/team/tickets/commit/main", content=body).status_code == 200
    assert team.get("/team/tickets/resolve/main/a.txt").content == b"a\n"
