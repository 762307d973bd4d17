import re

import pytest

from petapter_schemas.digests import git_blob_sha1
from tests.registry_server.conftest import Caller, Registry, member_of_team
from tests.registry_server.module_bytes import module_files

FILE = "/team/tickets/resolve/main/data.txt"
DATA = b"0123456789"


@pytest.fixture(scope="module")
def stocked(shared_registry: Registry) -> Caller:
    return stock(member_of_team(shared_registry))


def stock(team: Caller) -> Caller:
    team.published("team/tickets", {**module_files(), "data.txt": DATA, "plots/a.csv": b"a", "plots/deep/b.csv": b"b"})
    return team


def test_head_describes_a_file(stocked: Caller) -> None:
    answer = stocked.call("HEAD", FILE)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["X-Repo-Commit"] == stocked.head("team/tickets")
    assert answer.headers["ETag"] == f'"{git_blob_sha1(DATA)}"'
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_get_gives_the_bytes_for_download_only(stocked: Caller) -> None:
    answer = stocked.get(FILE)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("asked", "content", "described"),
    [
        ("bytes=0-0", b"0", "bytes 0-0/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=4-99", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-99", DATA, "bytes 0-9/10"),
    ],
)
def test_range_is_206(stocked: Caller, asked: str, content: bytes, described: str) -> None:
    answer = stocked.get(FILE, headers={"Range": asked})
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (206, content, described)
    assert answer.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_range_outside_the_file_is_416(stocked: Caller, asked: str) -> None:
    answer = stocked.get(FILE, headers={"Range": asked})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,3-4"])
def test_range_that_makes_no_sense_gives_the_whole(stocked: Caller, asked: str) -> None:
    assert stocked.get(FILE, headers={"Range": asked}).status_code == 200


def test_range_of_other_content_gives_the_whole(stocked: Caller) -> None:
    answer = stocked.get(FILE, headers={"Range": "bytes=1-2", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_empty_file_can_be_downloaded(team: Caller) -> None:
    team.published("team/tickets", {"data.txt": b""})
    assert (team.get(FILE).status_code, team.get(FILE).content) == (200, b"")


def test_missing_file_tells_the_commit_that_lacks_it(stocked: Caller) -> None:
    for method in ("HEAD", "GET"):
        answer = stocked.call(method, "/team/tickets/resolve/main/config.json")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")
        assert answer.headers["X-Repo-Commit"] == stocked.head("team/tickets")


def test_missing_revision_is_named(stocked: Caller) -> None:
    answer = stocked.get("/team/tickets/resolve/refs%2Fpr%2F1/data.txt")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert answer.json()["error"] == "Invalid rev id: refs/pr/1"


@pytest.mark.parametrize(
    ("escaped", "shown"),
    [
        ("%E2%9C%93%0Ax.txt", "Entry not found: ? x.txt"),
        ("%00", "Entry not found:"),
        ("%C3%A4.txt", "Entry not found: ?.txt"),
        ("x" * 900, f"Entry not found: {'x' * 483}"),
    ],
)
def test_error_message_fits_a_header(stocked: Caller, escaped: str, shown: str) -> None:
    answer = stocked.get(f"/team/tickets/resolve/main/{escaped}")
    assert answer.headers["X-Error-Message"] == shown


def test_root_lists_files_and_folders_without_going_down(stocked: Caller) -> None:
    entries = {e["path"]: e for e in stocked.get("/api/models/team/tickets/tree/main").json()}
    assert "plots/a.csv" not in entries
    assert entries["plots"]["type"] == "directory"
    assert entries["data.txt"] == {"type": "file", "path": "data.txt", "size": 10, "oid": git_blob_sha1(DATA)}


def test_folder_lists_what_lies_in_it(stocked: Caller) -> None:
    paths = [e["path"] for e in stocked.get("/api/models/team/tickets/tree/main/plots").json()]
    assert paths == ["plots/a.csv", "plots/deep"]


def test_missing_folder_is_entry_not_found(stocked: Caller) -> None:
    answer = stocked.get("/api/models/team/tickets/tree/main/additional_chat_templates")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_folder_id_is_gits(team: Caller) -> None:
    # git init; printf a > plots/a.csv; git add .; git write-tree: the id of "plots" that git computes
    team.published("team/tickets", {"plots/a.csv": b"a"})
    entries = {e["path"]: e["oid"] for e in team.get("/api/models/team/tickets/tree/main").json()}
    assert entries["plots"] == "15fe16cdc79b9304c2b9a210723e0b892c3d9389"


def test_tree_is_paged(stocked: Caller) -> None:
    found: list[str] = []
    url: str | None = "/api/models/team/tickets/tree/main?recursive=True&limit=4"
    while url:
        answer = stocked.get(url)
        found += [entry["path"] for entry in answer.json()]
        url = answer.links["next"]["url"] if "next" in answer.links else None
    assert found == sorted(stocked.paths("team/tickets"))
    assert "plots/deep" in found


def test_expanded_tree_tells_the_commit_that_last_changed_each_file(team: Caller) -> None:
    stocked = stock(team)
    stocked.published("team/tickets", {"data.txt": b"new"}, title="Change one")
    entries = {e["path"]: e for e in stocked.get("/api/models/team/tickets/tree/main?expand=true").json()}
    titles = {path: entries[path]["lastCommit"]["title"] for path in ("data.txt", "plots", ".gitattributes")}
    assert titles == {"data.txt": "Change one", "plots": "Push", ".gitattributes": "initial commit"}


@pytest.mark.parametrize(
    "options", [{"data": {"paths": ["data.txt", "plots", "no"]}}, {"json": {"paths": ["data.txt", "plots", "no"]}}]
)
def test_paths_info_drops_what_is_missing(stocked: Caller, options: dict[str, object]) -> None:
    answer = stocked.call("POST", "/api/models/team/tickets/paths-info/main", **options)
    assert [(e["path"], e["type"]) for e in answer.json()] == [("data.txt", "file"), ("plots", "directory")]


def test_model_info_has_what_clients_read(stocked: Caller) -> None:
    info = stocked.get("/api/models/team/tickets").json()
    assert info["id"] == "team/tickets"
    assert info["author"] == "team"
    assert re.fullmatch(r"[0-9a-f]{40}", info["sha"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", info["lastModified"])
    assert (info["pipeline_tag"], info["library_name"]) == ("text-classification", "peft")
    assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
    assert info["cardData"]["language"] == ["en", "de"]
    assert {"rfilename": "data.txt"} in info["siblings"]
    assert info["usedStorage"] > 1000


def test_tags_are_derived_from_the_card_as_on_the_hub(stocked: Caller) -> None:
    assert stocked.get("/api/models/team/tickets").json()["tags"] == [
        "peft",
        "petapter",
        "label:very good",
        "adapter:lora",
        "text-classification",
        "en",
        "de",
        "dataset:team/tickets",
        "base_model:tiny/bert",
        "base_model:adapter:tiny/bert",
        "license:apache-2.0",
    ]


def test_blobs_adds_sizes_and_git_ids(stocked: Caller) -> None:
    siblings = {s["rfilename"]: s for s in stocked.get("/api/models/team/tickets?blobs=true").json()["siblings"]}
    assert siblings["data.txt"] == {"rfilename": "data.txt", "size": 10, "blobId": git_blob_sha1(DATA)}


@pytest.mark.parametrize("name", ["expand", "expand[]"])
def test_expand_shows_only_what_is_named(stocked: Caller, name: str) -> None:
    info = stocked.get("/api/models/team/tickets", params={name: ["author", "likes"]}).json()
    assert info == {"_id": "team/tickets", "id": "team/tickets", "author": "team"}


def test_unknown_expand_is_400(stocked: Caller) -> None:
    assert stocked.get("/api/models/team/tickets?expand=nonsense").status_code == 400


def test_info_at_an_older_revision_shows_that_state(stocked: Caller) -> None:
    first = stocked.get("/api/models/team/tickets/commits/main").json()[-1]["id"]
    info = stocked.get(f"/api/models/team/tickets/revision/{first}").json()
    assert info["siblings"] == [{"rfilename": ".gitattributes"}]
    assert info["tags"] == []


def test_model_without_a_namespace_is_not_found(shared_registry: Registry) -> None:
    for path in ("/api/models/bert-base-uncased", "/bert-base-uncased/resolve/main/config.json"):
        assert shared_registry.anonymous.get(path).headers["X-Error-Code"] == "RepoNotFound"


def test_request_id_comes_back(shared_registry: Registry) -> None:
    answer = shared_registry.client.get("/health", headers={"X-Amzn-Trace-Id": "abc-123"})
    assert answer.headers["X-Request-Id"] == "abc-123"
    assert answer.json() == {"status": "ok"}
    assert shared_registry.client.get("/health", headers={"X-Request-Id": "a\tb"}).headers["X-Request-Id"] != "a\tb"


def test_validate_yaml_always_answers_json(shared_registry: Registry) -> None:
    good = shared_registry.client.post(
        "/api/validate-yaml", json={"content": "---\nlicense: mit\n---\n", "repoType": "model"}
    )
    assert (good.status_code, good.json()) == (200, {"errors": [], "warnings": []})
    bad = shared_registry.client.post("/api/validate-yaml", json={"content": "---\na: [\n---\n", "repoType": "model"})
    assert bad.status_code == 400
    assert "README.md" in bad.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "yaml",
    ["a: &a [1]\nb: *a", "- 1", "[" * 3000, "a: !!python/object/apply:os.system [ls]", 'a: "\\ud800"', "a: 2024-99-99"],
)
def test_hostile_card_is_refused(shared_registry: Registry, yaml: str) -> None:
    answer = shared_registry.client.post("/api/validate-yaml", json={"content": f"---\n{yaml}\n---\n"})
    assert answer.status_code == 400


def test_clients_small_questions_are_answered(shared_registry: Registry) -> None:
    assert shared_registry.client.get("/api/agent-harnesses").json() == {"standardEnvVars": [], "harnesses": {}}
    assert shared_registry.client.head("/api/telemetry/x/y").status_code == 200


def test_body_that_is_too_long_is_413(shared_registry: Registry) -> None:
    answer = shared_registry.client.post("/api/validate-yaml", content=b"x" * (5 << 20))
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"content": 1}', b"\xff"])
def test_body_that_breaks_the_protocol_is_400(shared_registry: Registry, body: bytes) -> None:
    answer = shared_registry.client.post("/api/validate-yaml", content=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_unknown_route_and_method_answer_in_the_hubs_form(shared_registry: Registry) -> None:
    client = shared_registry.client
    for answer, status in ((client.get("/no/such/route"), 404), (client.put("/health"), 405)):
        assert answer.status_code == status
        assert "is not a route" in answer.json()["error"]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("range_", [None, "bytes=0-999"])
def test_download_is_never_compressed(registry: Registry, team: Caller, method: str, range_: str | None) -> None:
    """A HEAD says `identity` and a GET gzip: lengths and ranges have to be those of the file in both."""
    data = b"the same words again and again\n" * 5000
    team.published("team/tickets", {"long.txt": data})
    headers = {"Accept-Encoding": "gzip, deflate, br, zstd"} | ({"Range": range_} if range_ else {})
    answer = team.call(method, "/team/tickets/resolve/main/long.txt", headers=headers)
    assert "Content-Encoding" not in answer.headers
    assert not answer.headers["ETag"].startswith("W/")
    length = 1000 if range_ and method == "GET" else len(data)
    assert answer.headers["Content-Length"] == str(length)
    assert answer.content == (b"" if method == "HEAD" else data[:length])
    del registry
