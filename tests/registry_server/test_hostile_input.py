"""Malformed tokens, files, commit lines, manifests, paths and ranges at the wire: refused in words, never a 5xx."""

import json
import random
from typing import Any

import pytest

from tests.registry_server.conftest import Caller, Registry, commit_body
from tests.registry_server.module_bytes import module_files
from tests.registry_server.test_contradictions import leaves
from tests.schemas.hostile_headers import HOSTILE

DATA = bytes(range(256)) * 4
COMMIT = "/api/models/team/hostile/commit/main"


@pytest.fixture(scope="module")
def hostile(shared_registry: Registry) -> Caller:
    """A member of a repository with one file."""
    member = shared_registry.caller("ada")
    assert member.create("team/hostile").status_code == 200
    member.published("team/hostile", {"data.txt": DATA.hex().encode(), "empty.txt": b""})
    return member


def refusal(answer: Any) -> str:
    """What an answer refuses with, as a client shows it."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    said: str = answer.json()["error"]
    assert said.strip()
    assert answer.headers["X-Error-Message"].isascii()
    return said


AUTHORIZATIONS = (
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Bearer  ",
    "Basic YWRhOnNlY3JldA==",
    "Token ppt_x",
    "ppt_x",
    "Bearer ppt_",
    "Bearer x y",
    "Bearer null",
    "Bearer ppt_" + "A" * 43,
    "Bearer " + "A" * 20_000,
    "Bearer hf_" + "A" * 34,
    "Bearer \xe4\xf6\xfc",
    "Bearer \x7f",
    "Bearer ' OR 1=1 --",
    "Bearer %00",
    "Bearer ../../etc/passwd",
    'Bearer {"token": 1}',
    "Bearer\tx",
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    ",",
    "Bearer a, Bearer b",
)


@pytest.mark.parametrize("authorization", AUTHORIZATIONS)
def test_header_without_a_token_of_this_registry_is_401(hostile: Caller, authorization: str) -> None:
    for method, path in (("GET", "/api/whoami-v2"), ("GET", "/team/hostile/resolve/main/data.txt"), ("POST", COMMIT)):
        headers = {"authorization": authorization.encode("latin-1")}
        answer = Caller(hostile.client, None).call(method, path, headers=headers)
        assert answer.status_code == 401
        assert refusal(answer) == "Invalid credentials in Authorization header"


def test_token_with_one_wrong_letter_is_401(hostile: Caller) -> None:
    assert hostile.token is not None
    for at in range(len(hostile.token)):
        letter = "x" if hostile.token[at] != "x" else "y"
        caller = Caller(hostile.client, hostile.token[:at] + letter + hostile.token[at + 1 :])
        assert caller.get("/api/whoami-v2").status_code == 401


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_safetensors_file_is_refused(hostile: Caller, name: str) -> None:
    head = hostile.head("team/hostile")
    refusal(hostile.commit("team/hostile", {"weights.safetensors": HOSTILE[name]}))
    assert hostile.head("team/hostile") == head


HEADER = b'{"key":"header","value":{"summary":"x","description":""}}\n'
LINES: dict[str, bytes] = {
    "no header": b'{"key":"deletedFile","value":{"path":"a.txt"}}',
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "no key": b'{"value":{}}',
    "key is a number": b'{"key":1,"value":{}}',
    "no value": b'{"key":"file"}',
    "value is a list": b'{"key":"file","value":[]}',
    "value is null": b'{"key":"file","value":null}',
    "unknown key": b'{"key":"symlink","value":{"path":"a.txt"}}',
    "cut off": b'{"key":"file","value":{"path":"a.txt","content":"eA',
    "two documents": b'{"key":"file"}{"key":"file"}',
    "not UTF-8": b'{"key":"file","value":{"path":"\xff.txt","content":"eA==","encoding":"base64"}}',
    "UTF-16": '{"key":"file"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"key":"header","value":{"summary":"x"}}',
    "NUL in the path": b'{"key":"file","value":{"path":"a\\u0000.txt","content":"eA==","encoding":"base64"}}',
    "half a character": b'{"key":"file","value":{"path":"\\ud800.txt","content":"eA==","encoding":"base64"}}',
    "NUL in the title": b'{"key":"header","value":{"summary":"a\\u0000b"}}',
    "title is empty": b'{"key":"header","value":{"summary":""}}',
    "title is long": b'{"key":"header","value":{"summary":"' + b"x" * 1000 + b'"}}',
    "title is a number": b'{"key":"header","value":{"summary":1}}',
    "parent is no commit": b'{"key":"header","value":{"summary":"x","parentCommit":"main"}}',
    "parent is a list": b'{"key":"header","value":{"summary":"x","parentCommit":[]}}',
    "other encoding": b'{"key":"file","value":{"path":"a.txt","content":"x","encoding":"utf-8"}}',
    "no encoding": b'{"key":"file","value":{"path":"a.txt","content":"eA=="}}',
    "base64 with spaces": b'{"key":"file","value":{"path":"a.txt","content":"e A==","encoding":"base64"}}',
    "base64 without padding": b'{"key":"file","value":{"path":"a.txt","content":"eA","encoding":"base64"}}',
    "base64 of other letters": b'{"key":"file","value":{"path":"a.txt","content":"\xc3\xa4==","encoding":"base64"}}',
    "base64 for addresses": b'{"key":"file","value":{"path":"a.txt","content":"-_-_","encoding":"base64"}}',
    "content is null": b'{"key":"file","value":{"path":"a.txt","content":null,"encoding":"base64"}}',
    "path is a number": b'{"key":"file","value":{"path":1,"content":"eA==","encoding":"base64"}}',
    "path is empty": b'{"key":"file","value":{"path":"","content":"eA==","encoding":"base64"}}',
    "path is long": b'{"key":"file","value":{"path":"' + b"a/" * 5000 + b'a","content":"eA==","encoding":"base64"}}',
    "digest too short": b'{"key":"lfsFile","value":{"path":"a.txt","algo":"sha256","oid":"00","size":1}}',
    "digest in capitals": b'{"key":"lfsFile","value":{"path":"a.txt","oid":"' + b"A" * 64 + b'","size":1}}',
    "digest nobody sent": b'{"key":"lfsFile","value":{"path":"a.txt","oid":"' + b"0" * 64 + b'","size":1}}',
    "other algorithm": b'{"key":"lfsFile","value":{"path":"a.txt","algo":"md5","oid":"' + b"0" * 64 + b'"}}',
    "negative size": b'{"key":"lfsFile","value":{"path":"a.txt","oid":"' + b"0" * 64 + b'","size":-1}}',
    "size beyond all numbers": b'{"key":"lfsFile","value":{"path":"a.txt","oid":"' + b"0" * 64 + b'","size":1e999}}',
    "huge number": b'{"key":"lfsFile","value":{"path":"a.txt","oid":"' + b"0" * 64 + b'","size":' + b"9" * 5000 + b"}}",
    "depth bomb": b'{"key":' + b"[" * 50_000,
    "depth bomb that ends": b'{"key":"file","value":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "repeated key": b'{"key":"file","key":"header","value":{}}',
    "NaN": b'{"key":"file","value":{"path":"a.txt","content":NaN,"encoding":"base64"}}',
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_malformed_commit_line_is_refused(hostile: Caller, name: str) -> None:
    head = hostile.head("team/hostile")
    start = b"" if name == "no header" else HEADER
    refusal(hostile.call("POST", COMMIT, content=start + LINES[name] + b"\n"))
    assert hostile.head("team/hostile") == head


JUNK = (None, True, -1, 10**40, 1e308, "", "\0", "\u202e", "x" * 5000, [], [[]], {}, {"a": {}}, "../../etc/passwd")


def test_manifest_with_junk_in_any_field_is_refused_or_taken_whole(hostile: Caller) -> None:
    chance = random.Random(5)  # noqa: S311 (repeatable)
    files = module_files()
    places = [path for path, _ in leaves(json.loads(files["petapter.json"]))]
    for place in chance.sample(places, 40):
        document = put(json.loads(files["petapter.json"]), place.split("."), chance.choice(JUNK))
        answer = hostile.commit("team/hostile", files | {"petapter.json": json.dumps(document).encode()})
        if answer.status_code != 200:
            refusal(answer)
        else:
            assert hostile.get("/api/petapter/v1/modules/team/hostile").status_code == 200
            hostile.published("team/hostile", {}, deleted=list(files))


def put(document: Any, keys: list[str], value: object) -> Any:
    """The document with another value at a place."""
    inner = document
    for key in keys[:-1]:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[int(keys[-1]) if isinstance(inner, list) else keys[-1]] = value
    return document


PATHS = (
    "..%2f..%2fetc%2fpasswd",
    "../../etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cwindows",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "data.txt%00",
    "%00",
    "data.txt/",
    "data.txt/..",
    "%2e/data.txt",
    "data.txt%0d%0aX-Header:%20x",
    "%ff%fe",
    "%c0%ae%c0%ae/x",
    "%ED%A0%80",
    "%",
    "%zz",
    "%25",
    "a" * 5000,
    "a/" * 500,
    "CON",
    "data.txt:stream",
    "DATA.TXT",
    "~root",
    "$HOME",
    "*",
    "%3Cscript%3E",
    ";",
    "data.txt;x=1",
    "data.txt%3Fx",
    "%E2%80%AE",
    "%F0%9F%92%A9",
    "%252e%252e",
)


@pytest.mark.parametrize("path", PATHS)
def test_path_that_names_no_file_is_refused(hostile: Caller, path: str) -> None:
    for method in ("GET", "HEAD"):
        for address in (f"/team/hostile/resolve/main/{path}", f"/team/hostile/resolve/{path}/data.txt"):
            answer = hostile.call(method, address, follow_redirects=False)
            assert answer.status_code in {400, 404}, (address, answer.status_code)
    revision = path.replace("/", "%2F")
    refusal(hostile.get(f"/api/models/team/hostile/revision/{revision}"))


@pytest.mark.parametrize("path", PATHS)
def test_path_that_is_not_safe_is_not_written(hostile: Caller, path: str) -> None:
    answer = hostile.call("POST", COMMIT, content=commit_body({path: b"x"}))
    assert answer.status_code in {400, 422}  # of a kind that is not stored, or unsafe
    refusal(answer)


RANGES = (
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=--5",
    "bytes=5",
    "bytes=a-b",
    "bytes=5-2",
    "bytes=0-0,5-9",
    "bytes= 0-5",
    "bytes=0 -5",
    "items=0-5",
    "bytes=0x0-5",
    "bytes=-0",
    "bytes=99999999999999999999-",
    "bytes=0-99999999999999999999",
    "bytes=-99999999999999999999",
    "bytes=" + "0" * 5000 + "-5",
    "bytes=+0-5",
    "bytes=0.0-5",
    "bytes=\xb2-5",
    "bytes=0-5;q=1",
    "bytes=" + ",".join(f"{n}-{n}" for n in range(2000)),
    "0-5",
    "\xff",
    "bytes=0-5\x7f",
)


@pytest.mark.parametrize("asked", RANGES)
def test_range_that_makes_no_sense_gives_the_whole_or_is_416(hostile: Caller, asked: str) -> None:
    whole = DATA.hex().encode()
    answer = hostile.get("/team/hostile/resolve/main/data.txt", headers={"range": asked.encode("latin-1")})
    assert answer.status_code in {200, 416}
    assert answer.status_code == 416 or answer.content == whole


def test_every_sensible_range_is_what_python_slices(hostile: Caller) -> None:
    whole = DATA.hex().encode()
    chance = random.Random(1)  # noqa: S311 (repeatable)
    for _ in range(60):
        first = chance.randrange(len(whole))
        last = chance.randrange(first, len(whole) + 50)
        for asked, part in (
            (f"bytes={first}-{last}", whole[first : last + 1]),
            (f"bytes={first}-", whole[first:]),
            (f"bytes=-{first + 1}", whole[-(first + 1) :]),
        ):
            answer = hostile.get("/team/hostile/resolve/main/data.txt", headers={"range": asked})
            assert (answer.status_code, answer.content) == (206, part)
