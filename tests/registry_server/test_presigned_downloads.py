"""Real clients that the registry sends to the bucket for large files: right bytes, right names, and no token there."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from petapter_schemas.digests import git_blob_sha1
from tests.registry_process import Hub, new_token, serving
from tests.registry_server.module_bytes import safetensors
from tests.registry_server.recording_proxy import Proxy, recording_proxy
from tests.registry_server.s3_server import S3Server

pytestmark = pytest.mark.s3

WEIGHTS = safetensors({"weight": (500, 100)})
"""200 kB: sent apart from the commit, so that clients name it by its sha256."""
NOTES = b"0123456789" * 500
"""5 kB: sent inside the commit, so that clients name it by git's id."""
SMALL = b"small"
FILES = {"weights.safetensors": WEIGHTS, "notes.txt": NOTES, "small.txt": SMALL}


@pytest.fixture(scope="module")
def store(s3: S3Server) -> Iterator[Proxy]:
    """The way to the bucket, which remembers who asked what."""
    with recording_proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hub(s3: S3Server, store: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A private repository whose files above 1,000 bytes are in the bucket."""
    home = tmp_path_factory.mktemp("presigned")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", store.url)
        environment.setenv("PETAPTER_REGISTRY_REDIRECT_ABOVE_BYTES", "1000")
        environment.setenv("PETAPTER_REGISTRY_MAX_INLINE_BYTES", "10000")
        with serving(home / "data", blobs=f"s3://{s3.new_bucket()}/lab") as server:
            hub = Hub(server, home, new_token(home / "data"))
            for path, data in FILES.items():
                (home / "files").mkdir(exist_ok=True)
                (home / "files" / path).write_bytes(data)
            up = hub.hf("upload", "team/tickets", home / "files", ".", "--private")
            assert up.returncode == 0, up.stderr
            store.seen.clear()
            yield hub


def get(hub: Hub, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> httpx.Response:
    sent = {"authorization": f"Bearer {hub.token}", **(headers or {})}
    return httpx.get(f"{hub.server.url}/team/tickets/resolve/main/{path}", headers=sent, **options)


def check_no_secret(hub: Hub, store: Proxy, expected: int) -> None:
    """The bucket was asked so often by clients, and never saw what the registry knows them by."""
    asked = store.presigned()
    assert len(asked) == expected
    for request in asked:
        assert not {"authorization", "cookie"} & request.headers.keys()
        assert hub.token not in request.path + "".join(request.headers.values())


def test_hf_download_takes_large_files_from_the_bucket_without_its_token(
    hub: Hub, store: Proxy, tmp_path: Path
) -> None:
    done = hub.hf("download", "team/tickets", "--local-dir", tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert {path: (tmp_path / "copy" / path).read_bytes() for path in FILES} == FILES
    check_no_secret(hub, store, 2)


def test_library_sees_size_and_digest_and_finds_its_cache_again(hub: Hub, store: Proxy) -> None:
    script = """
import sys
from pathlib import Path
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
for path in ("weights.safetensors", "notes.txt"):
    seen = get_hf_file_metadata(hf_hub_url("team/tickets", path))
    first = Path(hf_hub_download("team/tickets", path))
    assert first.resolve().name == seen.etag
    assert first.stat().st_size == seen.size
    assert Path(hf_hub_download("team/tickets", path)) == first
    print(seen.etag)
"""
    done = hub.python(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [sha256(WEIGHTS).hexdigest(), git_blob_sha1(NOTES)]
    check_no_secret(hub, store, 2)


@pytest.mark.parametrize(
    ("path", "etag"), [("weights.safetensors", sha256(WEIGHTS).hexdigest()), ("notes.txt", git_blob_sha1(NOTES))]
)
def test_redirect_says_what_the_file_is(hub: Hub, path: str, etag: str) -> None:
    answer = get(hub, path)
    assert answer.status_code == 302
    assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"] == f'"{etag}"'
    assert answer.headers["X-Linked-Size"] == str(len(FILES[path]))
    assert answer.headers["Cache-Control"] == "no-store"
    assert urlsplit(answer.headers["Location"]).query.count("X-Amz-Expires=900") == 1


@pytest.mark.parametrize(
    ("asked", "expected"), [("bytes=10-19", NOTES[10:20]), ("bytes=4990-", NOTES[-10:]), ("bytes=-3", NOTES[-3:])]
)
def test_range_is_followed_to_the_bucket(hub: Hub, store: Proxy, asked: str, expected: bytes) -> None:
    answer = get(hub, "notes.txt", headers={"range": asked}, follow_redirects=True)
    assert (answer.status_code, answer.content) == (206, expected)
    begin = NOTES.rindex(expected) if asked != "bytes=10-19" else 10
    assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(expected) - 1}/{len(NOTES)}"
    check_no_secret(hub, store, 1)


def test_small_file_comes_from_the_registry(hub: Hub, store: Proxy) -> None:
    answer = get(hub, "small.txt", headers={"range": "bytes=1-2"})
    assert (answer.status_code, answer.content) == (206, SMALL[1:3])
    check_no_secret(hub, store, 0)


def test_address_is_for_one_file_and_the_stranger_gets_none(hub: Hub) -> None:
    address = get(hub, "notes.txt").headers["Location"]
    assert httpx.get(address).content == NOTES
    answer = httpx.get(f"{hub.server.url}/team/tickets/resolve/main/notes.txt")
    assert (answer.status_code, "Location" in answer.headers) == (401, False)
