"""Long contents of commit lines are cut out before the rest is parsed: nothing may be read in another way for that."""

import base64
from pathlib import Path

import pytest

from petapter_registry_server.services import commit_lines
from petapter_registry_server.services.commit_lines import read_commit
from petapter_registry_server.services.limits import Limits
from petapter_schemas.errors import PetapterError

HEADER = b'{"key":"header","value":{"summary":"x"}}\n'
DATA = b"".join(b"%d, " % number for number in range(100))
CONTENT = base64.b64encode(DATA)
LIMITS = Limits(10_000, 10_000, 100_000, 10)
ALWAYS, NEVER = 8, 1 << 40


def line(form: bytes) -> bytes:
    """A commit of one file; CONTENT stands for its content and REST for what usually follows that."""
    rest = b',"path":"a.txt","encoding":"base64"}}'
    return HEADER + form.replace(b"CONTENT", CONTENT).replace(b"REST", rest) + b"\n"


READ = {
    "as it is mostly written": line(b'{"key": "file", "value": {"content": "CONTENT"REST'),
    "without spaces": line(b'{"key":"file","value":{"content":"CONTENT"REST'),
    "content last": line(b'{"value":{"encoding":"base64","path":"a.txt","content":"CONTENT"},"key":"file"}'),
    "more spaces": line(b'{ "key" : "file" , "value" : { "content"   :   "CONTENT" REST'),
    "escape in the path": line(
        b'{"key":"file","value":{"content":"CONTENT","path":"\\u0061.txt","encoding":"base64"}}'
    ),
    "escape in the content": line(b'{"key":"file","value":{"content":"CONTENT\\u0059WJj"REST'),
    "escape in the key": line(b'{"key":"file","value":{"c\\u006fntent":"CONTENT"REST'),
    "another content before": line(b'{"x":{"content":"CONTENT"},"key":"file","value":{"content":"eA=="REST'),
    "another content within": line(b'{"key":"file","value":{"x":{"content":"CONTENT"},"content":"eA=="REST'),
    "the key as a value": line(b'{"key":"file","value":{"x":["content"],"content":"CONTENT"REST'),
}
REFUSED = {
    "content twice": line(b'{"key":"file","value":{"content":"CONTENT","content":"CONTENT"REST'),
    "content without an end": line(b'{"key":"file","value":{"content":"CONTENT'),
    "nothing after the content": line(b'{"key":"file","value":{"content":"CONTENT"'),
    "quote": line(b'{"key":"file","value":{"content":"CONTENT"CONTENT"REST'),
    "backslash": line(b'{"key":"file","value":{"content":"CONTENT\\\\u0059WJj"REST'),
    "no escape": line(b'{"key":"file","value":{"content":"CONTENT\\x"REST'),
    "tab": line(b'{"key":"file","value":{"content":"CONTENT\tAAA"REST'),
    "zero byte": line(b'{"key":"file","value":{"content":"CONTENT\x00AAA"REST'),
    "no UTF-8": line(b'{"key":"file","value":{"content":"CONTENT\xff\xff\xff\xff"REST'),
    "letter beyond ASCII": line(b'{"key":"file","value":{"content":"CONTENT\xc3\xa4AA"REST'),
    "another alphabet": line(b'{"key":"file","value":{"content":"CONTENT-_AA"REST'),
    "padding amid": line(b'{"key":"file","value":{"content":"eA==CONTENT"REST'),
    "another encoding": line(b'{"key":"file","value":{"content":"CONTENT","path":"a.txt","encoding":"utf-8"}}'),
    "no value": line(b'{"key":"file","content":"CONTENT"}'),
    "no object": line(b'["content":"CONTENT"]'),
    "path that goes up": line(b'{"key":"file","value":{"content":"CONTENT","path":"../a.txt","encoding":"base64"}}'),
}


def outcome(body: bytes, place: Path) -> bytes | type[PetapterError]:
    """The bytes of the file of a commit, or the kind of its refusal."""
    place.mkdir()
    (place / "body").write_bytes(body)
    try:
        received = read_commit(place / "body", place, LIMITS)
    except PetapterError as error:
        return type(error)
    (location,) = received.locations.values()
    return location.read_bytes()


@pytest.mark.parametrize("body", [*READ.values(), *REFUSED.values()], ids=[*READ, *REFUSED])
def test_content_that_is_cut_out_is_read_like_one_that_is_parsed(
    body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for long_bytes in (ALWAYS, NEVER):
        monkeypatch.setattr(commit_lines, "_LONG_BYTES", long_bytes)
        outcomes.append(outcome(body, tmp_path / str(long_bytes)))
    assert outcomes[0] == outcomes[1]
    assert isinstance(outcomes[0], bytes) == (body in READ.values())


def test_long_content_is_cut_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else the test above would compare nothing."""
    parsed: list[int] = []
    loads = commit_lines.strict_json.loads

    def noting(data: bytes, *, source: str, max_bytes: int) -> object:
        parsed.append(len(data))
        return loads(data, source=source, max_bytes=max_bytes)

    monkeypatch.setattr(commit_lines.strict_json, "loads", noting)
    monkeypatch.setattr(commit_lines, "_LONG_BYTES", ALWAYS)
    assert outcome(READ["as it is mostly written"], tmp_path / "long") == DATA
    assert parsed[-1] < len(CONTENT)
