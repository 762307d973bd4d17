"""Real clients whose large files go to the bucket by themselves: huggingface_hub by LFS, and petapter push."""

import os
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from tests.registry_process import Hub, new_token, serving
from tests.registry_server.module_bytes import safetensors
from tests.registry_server.recording_proxy import Seen
from tests.registry_server.s3_server import S3Server
from tests.registry_server.strict_store import StrictStore, strict_store

pytestmark = pytest.mark.s3

UPLOAD = """
import sys
from huggingface_hub import HfApi
api = HfApi()
api.create_repo(sys.argv[2], exist_ok=True)
with open(sys.argv[1], "rb") as stream:
    api.upload_file(path_or_fileobj=stream, path_in_repo="m.safetensors", repo_id=sys.argv[2])
"""


@pytest.fixture(scope="module")
def store(s3: S3Server) -> Iterator[StrictStore]:
    with strict_store(s3) as strict:
        yield strict


@pytest.fixture(scope="module")
def hub(store: StrictStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Files above 10,000 bytes travel apart."""
    home = tmp_path_factory.mktemp("direct")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in store.env.items():
            environment.setenv(name, value)
        for name, value in {**store.settings, "direct_uploads": "true", "max_inline_bytes": "10000"}.items():
            environment.setenv(f"PETAPTER_REGISTRY_{name.upper()}", value)
        with serving(home / "data", blobs=store.blobs) as server:
            yield Hub(server, home, new_token(home / "data"))


def weights(path: Path, rows: int) -> bytes:
    data = bytearray(safetensors({"weight": (rows, 1024)}))
    data[len(data) // 2 :] = os.urandom(len(data) - len(data) // 2)
    path.write_bytes(data)
    return bytes(data)


def sent(store: StrictStore, size: int, hub: Hub) -> None:
    """The bucket got all bytes from the client, at signed addresses alone, and no token."""
    if store.proxy is None:
        return
    puts = [request for request in store.proxy.presigned() if request.method == "PUT"]
    assert sum(len(request.body) for request in puts) == size
    for request in puts:
        check_no_token(request, hub)


def check_no_token(request: Seen, hub: Hub) -> None:
    assert "/lab/staging/" in request.path
    assert not {"authorization", "cookie"} & request.headers.keys()
    assert hub.token not in request.path + "".join(request.headers.values())


@pytest.mark.parametrize("rows", [512, 3072], ids=["in one piece", "in parts"])  # 2 MiB, 12 MiB
def test_hf_sends_large_files_to_the_bucket_without_its_token(
    hub: Hub, store: StrictStore, tmp_path: Path, rows: int
) -> None:
    data = weights(tmp_path / "m.safetensors", rows)
    if store.proxy is not None:
        store.proxy.seen.clear()
    done = hub.python(UPLOAD, tmp_path / "m.safetensors", f"lfs-team/large-{rows}")
    assert done.returncode == 0, done.stderr
    sent(store, len(data), hub)
    down = hub.hf("download", f"lfs-team/large-{rows}", "--local-dir", tmp_path / "copy")
    assert (tmp_path / "copy/m.safetensors").read_bytes() == data, down.stderr
    left = obstore.list(store.server.open(store.bucket, "lab"), "staging")
    assert [found for batch in left for found in batch] == []


PUSH = """
import sys
from pathlib import Path
from huggingface_hub import HfApi
from petapter_hub_client.hub import Hub
from petapter_hub_client.large_files import LocalFile, send_large
from petapter_hub_client.remotes import Remote
from petapter_schemas.digests import sha256_file
source, repo_id, url, token = Path(sys.argv[1]), *sys.argv[2:]
api = HfApi(endpoint=url, token=token)
api.create_repo(repo_id)
file = LocalFile("m.safetensors", source, source.stat().st_size, sha256_file(source))
for _ in range(2):  # the second time the repository has it
    arrived = []
    send_large(Hub(Remote("lab", url), api, token), repo_id, file, arrived.append)
    assert sum(arrived) == file.size
"""


def test_petapter_sends_large_files_to_the_bucket_without_its_token(
    hub: Hub, store: StrictStore, tmp_path: Path
) -> None:
    data = weights(tmp_path / "m.safetensors", 1280)  # 5 MiB: two parts
    if store.proxy is not None:
        store.proxy.seen.clear()
    done = hub.python(PUSH, tmp_path / "m.safetensors", "push-team/large", hub.server.url, hub.token)
    assert done.returncode == 0, done.stderr
    sent(store, len(data), hub)
