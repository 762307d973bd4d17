"""The read-through proxy: another Hub's public repositories under our address, and nothing of ours there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from petapter_registry_server.app import create_app
from petapter_registry_server.settings import Settings
from petapter_schemas.digests import git_blob_sha1
from petapter_schemas.errors import InputError
from tests.registry_process import Hub, Server, new_token, serving
from tests.registry_server.conftest import Backing, Caller, Registry, running
from tests.registry_server.module_bytes import safetensors
from tests.thread_server import running_in_a_thread

FILES = {"config.json": b'{"model_type": "bert"}', "deep/notes.txt": b"0123456789"}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Another registry, which holds `acme/model` and the private `acme/secret`."""
    home = tmp_path_factory.mktemp("there")
    with serving(home / "data") as server:
        hub = Hub(server, home, new_token(home / "data"))
        for path, data in FILES.items():
            (home / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            (home / "files" / path).write_bytes(data)
        for name in (["acme/model"], ["team/tickets"], ["acme/secret", "--private"]):
            up = hub.hf("upload", name[0], home / "files", ".", *name[1:])
            assert up.returncode == 0, up.stderr
        yield hub


@pytest.fixture
def registry(tmp_path: Path, backing: Backing, there: Hub) -> Iterator[Registry]:
    with running(backing.settings(tmp_path / "data", upstream=there.server.url)) as opened:
        yield opened


def test_file_comes_from_there_with_its_names(registry: Registry) -> None:
    head = registry.anonymous.call("HEAD", "/acme/model/resolve/main/config.json")
    got = registry.anonymous.get("/acme/model/resolve/main/config.json")
    assert (head.status_code, got.status_code, got.content) == (200, 200, FILES["config.json"])
    assert head.headers["Content-Length"] == str(len(FILES["config.json"]))
    assert head.headers["ETag"] == got.headers["ETag"] == f'"{git_blob_sha1(FILES["config.json"])}"'
    assert head.headers["X-Repo-Commit"] == registry.anonymous.get("/api/models/acme/model").json()["sha"]
    assert got.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_part_of_a_file_comes_from_there(registry: Registry) -> None:
    part = registry.anonymous.get("/acme/model/resolve/main/deep%2Fnotes.txt", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["Content-Range"] == "bytes 2-4/10"
    beyond = registry.anonymous.get("/acme/model/resolve/main/deep/notes.txt", headers={"Range": "bytes=90-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")


def test_information_and_trees_come_from_there_page_by_page(registry: Registry) -> None:
    info = registry.anonymous.get("/api/models/acme/model/revision/main?blobs=true").json()
    assert {file["rfilename"] for file in info["siblings"]} == {".gitattributes", *FILES}
    tree = registry.anonymous.get("/api/models/acme/model/tree/main?recursive=true&limit=2")
    assert [entry["path"] for entry in tree.json()] == [".gitattributes", "config.json"]
    next_page = tree.links["next"]["url"]
    assert next_page.startswith("http://registry.test/api/models/acme/model/tree/main?")
    rest = registry.anonymous.get(next_page.removeprefix("http://registry.test")).json()
    assert [entry["path"] for entry in rest] == ["deep", "deep/notes.txt"]
    asked = registry.anonymous.call(
        "POST", "/api/models/acme/model/paths-info/main", data={"paths": ["config.json", "none"]}
    )
    assert [entry["path"] for entry in asked.json()] == ["config.json"]


def test_what_is_missing_there_is_missing_here_as_clients_know_it(registry: Registry) -> None:
    file = registry.anonymous.get("/acme/model/resolve/main/none.json")
    assert (file.status_code, file.headers["X-Error-Code"], len(file.headers["X-Repo-Commit"])) == (
        404,
        "EntryNotFound",
        40,
    )
    revision = registry.anonymous.get("/api/models/acme/model/revision/none")
    assert (revision.status_code, revision.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    for repo_id in ("acme/none", "acme/secret"):
        answer = registry.anonymous.get(f"/api/models/{repo_id}")
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_nothing_else_is_passed_on(registry: Registry) -> None:
    writer = registry.caller("ada")
    for method, path in (
        ("GET", "/api/models/acme/model/refs"),
        ("GET", "/api/models/acme/model/commits/main"),
        ("POST", "/api/models/acme/model/preupload/main"),
        ("GET", "/api/petapter/v1/modules/acme/model"),
        ("GET", "/api/models/acme/model/auth-check"),
    ):
        assert writer.call(method, path).status_code == 404, path
    assert writer.get("/api/models?author=acme").json() == []


@pytest.mark.parametrize("founded", ["team", "TEAM", "tearn", "t-eam"])
def test_namespace_that_exists_here_hides_the_whole_of_it_there(registry: Registry, founded: str) -> None:
    """Also one that a look-alike stands for, and also repositories that do not exist here."""
    assert registry.anonymous.get("/api/models/team/tickets").status_code == 200
    shadows = founded in {"team", "TEAM", "t-eam"}
    assert registry.caller("ada").create(f"{founded}/other").status_code == 200
    assert registry.anonymous.get("/api/models/team/tickets").status_code == (401 if shadows else 200)
    assert registry.anonymous.get("/team/tickets/resolve/main/config.json").status_code == (401 if shadows else 200)


def test_deleted_repository_is_not_replaced_by_one_from_there(registry: Registry, team: Caller) -> None:
    team.delete("team/tickets")
    assert team.get("/team/tickets/resolve/main/config.json").status_code in {404, 410}


def test_who_may_not_read_public_repositories_gets_nothing(tmp_path: Path, there: Hub) -> None:
    settings = Settings(data=tmp_path / "closed", upstream=there.server.url, anonymous_read=False)
    with running(settings) as closed:
        assert closed.anonymous.get("/api/models/acme/model").status_code == 401
        assert closed.caller("ada").get("/api/models/acme/model").status_code == 200


def test_without_an_upstream_nothing_is_asked(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "alone")) as alone:
        assert alone.anonymous.get("/api/models/acme/model").status_code == 401


@pytest.mark.parametrize(
    "url",
    ["huggingface.co", "http://huggingface.co", "https://user@hub.example", "https://hub.example/path", "ftp://x"],
)
def test_upstream_that_may_not_be_asked_is_refused_at_the_start(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="setting upstream"):
        create_app(Settings(data=tmp_path / "data", upstream=url))


@dataclass
class OtherHub:
    """A Hub that answers as it is told and remembers what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def other_hub() -> Iterator[OtherHub]:
    hub = OtherHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            hub.seen.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
            status, headers, body = hub.answers.get(self.path, (404, {}, b"{}"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_HEAD = answer  # noqa: N815 (names that http.server looks for)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as hub.url:
        yield hub


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[tuple[OtherHub, Registry]]:
    """A Hub of our making, and a registry over it."""
    with other_hub() as hub, running(Settings(data=tmp_path / "data", upstream=hub.url)) as registry:
        yield hub, registry


WEIGHTS = "/acme/model/resolve/main/model.safetensors"


def test_redirect_to_a_store_is_followed_by_the_server_and_xet_stays_there(
    strange: tuple[OtherHub, Registry],
) -> None:
    hub, registry = strange
    with other_hub() as store:
        store.answers["/bytes?signed"] = (200, {"ETag": '"of the store"'}, b"weights")
        of_the_file = {
            "Location": f"{store.url}/bytes?signed",
            "X-Repo-Commit": "a" * 40,
            "X-Linked-Size": "7",
            "X-Linked-ETag": f'"{"b" * 64}"',
            "X-Xet-Hash": "c" * 64,
            "Link": '<https://cas.example>; rel="xet-auth"',
        }
        hub.answers[WEIGHTS] = (302, of_the_file, b"Found")
        caller = registry.caller("ada")
        head, got = caller.call("HEAD", WEIGHTS), caller.get(WEIGHTS, headers={"cookie": "mine", "range": "bytes=0-"})
        assert [request["path"] for request in store.seen] == ["/bytes?signed"]
        seen = [*hub.seen, *store.seen]
    assert (head.status_code, head.headers["Content-Length"]) == (200, "7")
    assert (got.status_code, got.content) == (200, b"weights")
    for answer in (head, got):
        assert (answer.headers["ETag"], answer.headers["X-Repo-Commit"]) == (f'"{"b" * 64}"', "a" * 40)
        assert not [name for name in answer.headers if "xet" in name.lower() or name.lower() in {"link", "location"}]
    for request in seen:
        assert not {"authorization", "cookie", "x-forwarded-for"} & request.keys()
        assert caller.token not in str(request)
        assert request["user-agent"] == "petapter-registry"


def test_xet_is_taken_out_of_trees(strange: tuple[OtherHub, Registry]) -> None:
    hub, registry = strange
    tree: list[dict[str, Any]] = [
        {"type": "file", "path": "a", "size": 1, "oid": "x", "xetHash": "h", "lfs": {"xet": 1}}
    ]
    hub.answers["/api/models/acme/model/tree/main"] = (200, {}, json.dumps(tree).encode())
    answer = registry.anonymous.get("/api/models/acme/model/tree/main")
    assert answer.json() == [{"type": "file", "path": "a", "size": 1, "oid": "x", "lfs": {}}]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "must be an https address"),
        ("https://10.0.0.1/bytes", "not on the public internet"),
        ("https://[::ffff:10.0.0.1]/bytes", "not on the public internet"),
        ("file:///etc/passwd", "must be an https address"),
        (WEIGHTS, "led on more than 5 times"),
        ("", "led on more than 5 times"),
    ],
)
def test_redirect_to_where_nobody_may_be_sent_is_refused(
    strange: tuple[OtherHub, Registry], location: str, said: str
) -> None:
    hub, registry = strange
    hub.answers[WEIGHTS] = (302, {"Location": location}, b"")
    answer = registry.anonymous.get(WEIGHTS)
    assert answer.status_code == 502
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((200, {}, b"<html>"), 502),
        ((500, {}, b"{}"), 502),
        ((429, {}, b"{}"), 502),
        ((200, {"Content-Encoding": "gzip"}, b"{}"), 502),
        ((401, {"X-Error-Code": "RepoNotFound"}, b"{}"), 404),
        ((403, {"X-Error-Code": "GatedRepo"}, b"{}"), 404),
    ],
)
def test_answer_that_is_none_of_a_hub_is_a_clean_error(
    strange: tuple[OtherHub, Registry], answer: tuple[int, dict[str, str], bytes], status: int
) -> None:
    hub, registry = strange
    hub.answers["/api/models/acme/model"] = answer
    assert registry.anonymous.get("/api/models/acme/model").status_code == status


@pytest.mark.parametrize("path", ["..%2f..%2fapi%2fwhoami-v2", "a/../../x", "%2e%2e/x"])
def test_path_that_climbs_is_not_asked_for(strange: tuple[OtherHub, Registry], path: str) -> None:
    hub, registry = strange
    assert registry.anonymous.get(f"/acme/model/resolve/main/{path}").status_code in {400, 404}
    assert not [request for request in hub.seen if ".." in request["path"] or "whoami" in request["path"]]


def test_upstream_that_is_gone_is_one_clean_error(tmp_path: Path) -> None:
    with other_hub() as hub:
        pass
    with running(Settings(data=tmp_path / "data", upstream=hub.url)) as registry:
        answer = registry.anonymous.get("/api/models/acme/model")
    assert (answer.status_code, answer.json()["error"]) == (502, "127.0.0.1 did not answer: ConnectError")


@pytest.fixture(scope="module")
def here(there: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PETAPTER_REGISTRY_UPSTREAM", there.server.url)
        with serving(home / "data") as server:
            yield server


def test_hf_download_gets_a_model_that_is_there(here: Server, tmp_path: Path) -> None:
    hub = Hub(here, tmp_path, new_token(here.data))
    done = hub.hf("download", "acme/model", "--local-dir", tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert {path: (tmp_path / "copy" / path).read_bytes() for path in FILES} == FILES


def test_transformers_loads_a_backbone_that_is_there(here: Server, there: Hub, tmp_path: Path) -> None:
    """With HF_ENDPOINT set to our registry for everything."""
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 20, **small}))
    weights = safetensors({"embeddings.word_embeddings.weight": (20, 8)}, fill=0.25)
    (tmp_path / "bert" / "model.safetensors").write_bytes(weights)
    up = there.hf("upload", "public/backbone", tmp_path / "bert", ".")
    assert up.returncode == 0, up.stderr
    hub = Hub(here, tmp_path, new_token(here.data))
    loaded = hub.python(
        "from transformers import AutoModel\n"
        "print(AutoModel.from_pretrained('public/backbone').get_input_embeddings().weight[19, 7].item())"
    )
    assert (loaded.returncode, loaded.stdout.strip()) == (0, "0.25"), loaded.stderr
