"""Parsers of untrusted bytes as functions that take any bytes: each reads or refuses them, and never breaks.

A refusal is a PetapterError with one line of text; anything else that is raised is a bug. `SEEDS` are where mutation
starts: inputs that are good, so that what lies behind the first check is reached too.
"""

import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.datastructures import Headers

from petapter.task.reading import read_task
from petapter_registry_server.api.byte_ranges import requested_range
from petapter_registry_server.api.raw_path import unescape
from petapter_registry_server.card import read_card
from petapter_registry_server.services import xet_formats
from petapter_registry_server.services.commit_lines import read_commit
from petapter_registry_server.services.file_kinds import check_file_name
from petapter_registry_server.services.limits import Limits
from petapter_registry_server.services.revisions import check_reference_name
from petapter_schemas.errors import PetapterError
from petapter_schemas.manifest import manifest_bytes, parse_manifest
from petapter_schemas.names import split_repo_id
from petapter_schemas.references import Reference
from petapter_schemas.tensor_header import read_tensor_header
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files
from tests.schemas.hostile_headers import HOSTILE, VALID

Parser = Callable[[bytes], object]
_SIZE = 1000
_LIMITS = Limits(file_bytes=1 << 20, inline_bytes=1 << 18, commit_bytes=1 << 20, tree_files=10)


def refused_or_read(parse: Parser, data: bytes) -> bool:
    """Whether the bytes are read; what a refusal says must be one line.

    Raises:
        AssertionError: The refusal says nothing, or more than a line.
    """
    try:
        parse(data)
    except PetapterError as error:
        said = str(error)
        if not said.strip() or len(said.splitlines()) != 1:
            raise AssertionError(f"a refusal must be one line: {said!r}") from error
        return False
    return True


def safetensors(data: bytes) -> object:
    """The header of a safetensors file."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "x.safetensors"
        file.write_bytes(data)
        return read_tensor_header(file)


def manifest(data: bytes) -> object:
    """petapter.json; what is read is written to the same manifest."""
    found = parse_manifest(data)
    if parse_manifest(manifest_bytes(found)) != found:
        raise AssertionError("another manifest comes of it when it is written and read")
    return found


def card(data: bytes) -> object:
    """The YAML of a model card, and the tags that come of it."""
    return read_card(data.decode("utf-8", "replace")).tags


def commit(data: bytes) -> object:
    """The newline-delimited JSON of a commit."""
    with tempfile.TemporaryDirectory() as scratch:
        body = Path(scratch) / "body"
        body.write_bytes(data)
        return read_commit(body, Path(scratch), _LIMITS)


def byte_range(data: bytes) -> object:
    """The Range header; a part must lie within the file."""
    found = requested_range(Headers({"range": data.decode("latin-1")}), size=_SIZE, etag='"x"')
    if found is not None and not 0 <= found.begin < found.end <= _SIZE:
        raise AssertionError(f"{found} is not within {_SIZE} bytes")
    return found


def reference(data: bytes) -> object:
    """A reference; what is read is written to the same one."""
    found = Reference.parse(data.decode("utf-8", "replace"))
    if Reference.parse(str(found)) != found:
        raise AssertionError("another reference comes of it when it is written and read")
    return found


def raw_path(data: bytes) -> object:
    """The parts of a path as it is sent: repository, revision and file."""
    namespace, _, rest = data.decode("latin-1").partition("/")
    name, _, rest = rest.partition("/")
    revision, _, path = rest.partition("/")
    file = check_file_name(unescape(path))
    if Path("/blobs", file).resolve().parts[:2] != ("/", "blobs"):
        raise AssertionError(f"{file!r} leaves its directory")
    return split_repo_id(f"{unescape(namespace)}/{unescape(name)}"), check_reference_name(unescape(revision)), file


def xorb(data: bytes) -> object:
    """The compressed chunks that Xet clients send."""
    return sum(len(chunk) for chunk in xet_formats.chunks(io.BytesIO(data)))


def shard(data: bytes) -> object:
    """Which chunks make which file."""
    return [file.size for file in xet_formats.read_shard(data)]


def task(data: bytes) -> object:
    """A task file."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "task.yaml"
        file.write_bytes(data)
        return read_task(file)


PARSERS: Mapping[str, Parser] = {
    "safetensors": safetensors, "manifest": manifest, "card": card, "commit": commit, "range": byte_range,
    "reference": reference, "path": raw_path, "xorb": xorb, "shard": shard, "task": task,
}  # fmt: skip

_MODULE = module_files()
_CARD = b"---\nlicense: mit\ntags: [a, 'b']\nlanguage:\n- en\nmodel-index:\n- name: x\n  results: []\n---\n# Title\n"
_TASK = b"labels: {pos: great, neg: [awful, bad]}\npatterns: ['{text} It was {mask}.', {template: '{text}{mask}'}]"
_TASK_JSON = b'{"labels": [{"name": "a", "words": ["b"]}, {"name": "c", "words": ["d"]}], "patterns": ["{text}{mask}"]}'
_SHARD = b"HFRepoMetaData".ljust(48, b"\0") + b"\1" * 32 + b"\0\0\0\x40" + b"\1\0\0\0" + b"\0" * 8
_SHARD += b"\2" * 32 + b"\0" * 4 + b"\5\0\0\0" + b"\0\0\0\0" + b"\1\0\0\0" + b"\3" * 48 + b"\xff" * 48
SEEDS: Mapping[str, list[bytes]] = {
    "safetensors": [*VALID.values(), *(data for data in HOSTILE.values() if len(data) < 1 << 12)],
    "manifest": [_MODULE["petapter.json"]],
    "card": [_MODULE["README.md"], _CARD, b"no metadata"],
    "commit": [
        commit_body({"a.txt": b"a", "b/c.json": b"{}"}, deleted=["d.txt"], parent="0" * 40),
        commit_body(_MODULE),
    ],
    "range": [b"bytes=0-9", b"bytes=-5", b"bytes=990-", b"bytes=0-0,5-9", b"bytes=5-2"],
    "reference": [b"team/tickets", b"lab:team/tickets@v1.0.0", b"hf:a/b@refs/pr/1", b"a/b@main"],
    "path": [b"team/tickets/main/a.txt", b"team/x.y/refs%2Fheads%2Fa/b%2Fc.json", b"t/n/v1.0.0/folder/%C3%A4.md"],
    "xorb": [b"\0" + b"\3\0\0" + b"\0" + b"\3\0\0" + b"abc", b"XETBLOB"],
    "shard": [_SHARD],
    "task": [
        _TASK,
        b'{"labels": [{"name": "a", "words": ["b"]}, {"name": "c", "words": ["d"]}], "patterns": ["{text}{mask}"]}',
    ],
}
