"""What every blob store promises, on each of them: local files, memory, obstore's own local files, and S3."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from petapter_registry_server.app import create_app
from petapter_registry_server.errors import StoreError
from petapter_registry_server.settings import Settings
from petapter_registry_server.storage.blobs import BlobShelf
from petapter_registry_server.storage.buckets import check_store
from petapter_registry_server.storage.digest_names import blob_name, digest_of
from petapter_registry_server.storage.local import LocalBlobStore
from petapter_registry_server.storage.objects import ObjectBlobStore
from petapter_schemas.digests import sha256_bytes
from tests.registry_server.s3_server import S3Server
from tests.thread_server import running_in_a_thread

DATA = bytes(range(256)) * 5000
DIGEST = sha256_bytes(DATA)
KINDS = ["local", "memory", "obstore-local", pytest.param("s3", marks=pytest.mark.s3)]


@dataclass(frozen=True)
class Kept:
    """A store, and a way to write into it behind its back."""

    store: BlobShelf
    overwrite: Callable[[str, bytes], object]

    def put(self, data: bytes, scratch: Path) -> str:
        digest = sha256_bytes(data)
        file = scratch / f"{digest}-{threading.get_ident()}"
        file.write_bytes(data)
        self.store.promote({digest: file})
        return digest

    def bytes_of(self, digest: str, begin: int = 0, end: int | None = None) -> bytes:
        return b"".join(self.store.open(digest, begin, end).chunks)


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "local":
        blobs = tmp_path / "data" / "blobs"
        blobs.mkdir(parents=True)
        store = LocalBlobStore(tmp_path / "data")
        return Kept(store, lambda digest, data: (blobs / blob_name(digest)).write_bytes(data))
    if request.param == "memory":
        objects: obstore.store.ObjectStore = MemoryStore()
    elif request.param == "obstore-local":
        objects = LocalStore(tmp_path / "objects", mkdir=True)
    else:
        server: S3Server = request.getfixturevalue("s3")
        objects = server.open(server.new_bucket(), "some/prefix")
    store = ObjectBlobStore(objects, tmp_path / "scratch")
    return Kept(store, lambda digest, data: obstore.put(objects, f"blobs/{blob_name(digest)}", data))


def test_promoted_bytes_come_back_whole_and_in_parts(kept: Kept, tmp_path: Path) -> None:
    kept.put(DATA, tmp_path)
    assert kept.bytes_of(DIGEST) == DATA
    assert kept.bytes_of(DIGEST, 10, 20) == DATA[10:20]
    assert kept.bytes_of(DIGEST, len(DATA) - 3) == DATA[-3:]
    assert kept.store.open(DIGEST, 10, 20).size == len(DATA)


def test_empty_blob_can_be_stored_and_read(kept: Kept, tmp_path: Path) -> None:
    digest = kept.put(b"", tmp_path)
    assert kept.bytes_of(digest) == kept.bytes_of(digest, 0, 0) == b""
    assert kept.store.size(digest) == 0


def test_scratch_file_stays_where_it_is(kept: Kept) -> None:
    with kept.store.scratch() as scratch:
        kept.put(DATA, scratch)
        kept.put(DATA, scratch)
        assert [file.read_bytes() for file in scratch.iterdir()] == [DATA]
    assert not any(scratch.iterdir())


def test_scratch_is_for_one_at_a_time_and_then_for_the_next(kept: Kept) -> None:
    with kept.store.scratch() as one, kept.store.scratch() as other:
        assert one != other
        (one / "file").touch()
    with kept.store.scratch() as next_one, kept.store.scratch() as next_other:
        assert {next_one, next_other} == {one, other}
        assert not any(one.iterdir())


def test_scratch_that_a_directory_was_made_in_goes_with_it(kept: Kept) -> None:
    with kept.store.scratch() as scratch:
        (scratch / "within").mkdir()
        (scratch / "within" / "file").touch()
    assert not scratch.exists()
    with kept.store.scratch() as another:
        assert not any(another.iterdir())


def test_scratch_that_somebody_removed_or_wrote_into_is_given_to_nobody(kept: Kept) -> None:
    with kept.store.scratch() as one, kept.store.scratch() as other:
        pass
    one.rmdir()
    (other / "file").touch()
    with kept.store.scratch() as next_one, kept.store.scratch() as next_other:
        assert not {next_one, next_other} & {one, other}
        assert not any([*next_one.iterdir(), *next_other.iterdir()])


def test_local_file_has_the_bytes(kept: Kept, tmp_path: Path) -> None:
    kept.put(DATA, tmp_path)
    with kept.store.scratch() as scratch:
        assert kept.store.local_file(DIGEST, scratch).read_bytes() == DATA


def test_missing_blob_is_not_found(kept: Kept, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kept.store.open(DIGEST)
    with pytest.raises(FileNotFoundError):
        kept.store.local_file(DIGEST, tmp_path)
    assert kept.store.size(DIGEST) is None


@pytest.mark.parametrize("damage", [DATA[:-1], b"\0" * len(DATA), b""], ids=["cut", "zeroed", "emptied"])
def test_promoting_again_heals_damage(kept: Kept, tmp_path: Path, damage: bytes) -> None:
    kept.put(DATA, tmp_path)
    kept.overwrite(DIGEST, damage)
    kept.put(DATA, tmp_path)
    assert kept.bytes_of(DIGEST) == DATA


def test_32_writers_of_one_blob_leave_it_whole(kept: Kept, tmp_path: Path) -> None:
    with ThreadPoolExecutor(32) as threads:
        digests = list(threads.map(lambda _: kept.put(DATA, tmp_path), range(32)))
    assert set(digests) == {DIGEST}
    assert kept.bytes_of(DIGEST) == DATA
    assert [blob.sha256 for blob in kept.store.stored()] == [DIGEST]


def test_list_names_every_blob_with_its_size(kept: Kept, tmp_path: Path) -> None:
    expected = {kept.put(b"x" * size, tmp_path): size for size in range(5)}
    assert {blob.sha256: blob.size for blob in kept.store.stored()} == expected


def test_deleted_blob_is_gone_and_deleting_twice_is_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.put(DATA, tmp_path)
    kept.store.delete(DIGEST)
    kept.store.delete(DIGEST)
    assert kept.store.size(DIGEST) is None
    assert list(kept.store.stored()) == []


def test_blob_set_aside_is_not_served_and_not_listed(kept: Kept, tmp_path: Path) -> None:
    kept.put(DATA, tmp_path)
    kept.store.set_aside(DIGEST)
    kept.store.set_aside(DIGEST)
    assert kept.store.size(DIGEST) is None
    assert list(kept.store.stored()) == []
    kept.put(DATA, tmp_path)
    assert kept.bytes_of(DIGEST) == DATA


@pytest.mark.parametrize("name", ["../../etc/passwd", "0" * 63, "G" * 64, ""])
def test_name_that_is_no_digest_never_reaches_the_store(kept: Kept, name: str) -> None:
    with pytest.raises(ValueError, match="no sha256"):
        kept.store.open(name)


def test_path_that_only_looks_like_a_blob_is_not_listed() -> None:
    assert digest_of(f"blobs/{blob_name(DIGEST)}") == DIGEST
    assert digest_of(f"blobs/sha256/00/00/{DIGEST}") is None


def test_local_files_have_no_address(tmp_path: Path) -> None:
    assert LocalBlobStore(tmp_path).address(DIGEST, 60) is None


@pytest.mark.s3
def test_presigned_address_gives_the_bytes_to_anybody(s3: S3Server, tmp_path: Path) -> None:
    kept = Kept(ObjectBlobStore(s3.open(s3.new_bucket()), tmp_path), lambda _digest, _data: None)
    kept.put(DATA, tmp_path)
    address = kept.store.address(DIGEST, 60)
    assert address is not None
    assert httpx.get(address).content == DATA


@pytest.mark.s3
def test_store_that_refuses_a_second_write_passes_the_probe_and_keeps_nothing(s3: S3Server) -> None:
    objects = s3.open(s3.new_bucket())
    check_store(objects)
    assert [meta for batch in obstore.list(objects) for meta in batch] == []


class Forgetful(BaseHTTPRequestHandler):
    """An S3 server that overwrites whatever `If-None-Match` says, as rclone and s3rver do."""

    held: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.held[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def do_GET(self) -> None:
        self._answer(200, self.held[self.path])

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        key = asked.partition(b"<Key>")[2].partition(b"</Key>")[0]
        self._answer(200, b"<DeleteResult><Deleted><Key>" + key + b"</Key></Deleted></DeleteResult>")

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def forgetful() -> Iterator[S3Server]:
    with running_in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)) as url:
        yield S3Server(url, "us-east-1", "test", "secret")


def test_store_that_ignores_if_none_match_is_refused(
    forgetful: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in forgetful.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="ignores 'If-None-Match"):
        create_app(Settings(data=tmp_path, blobs="s3://bucket"))


@pytest.mark.parametrize("url", ["bucket", "file:///tmp", "s3://", "s3://bucket?x=1"])
def test_address_that_is_no_bucket_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(StoreError, match="s3://bucket"):
        create_app(Settings(data=tmp_path, blobs=url))


def test_of_many_who_claim_a_store_one_has_it(kept: Kept) -> None:
    with ThreadPoolExecutor(8) as threads:
        owners = set(threads.map(kept.store.claim, [f"registry {number}" for number in range(8)]))
    (owner,) = owners
    assert kept.store.claim("somebody else") == owner
    assert list(kept.store.stored()) == []
