"""Pushes and pulls, timed by their clients: a small module end to end, the same again, and large files."""

import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import HfApi

from tests.benchmarks.counting_relay import relay
from tests.benchmarks.registry_fixture import NAMESPACE, Place, make_repository
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import HIDDEN, module_files, safetensors

MIB = 1 << 20
SMALL_BYTES = 3 * MIB
CHUNK = 1 << 20
START_S = 30


def small_module(number: int) -> dict[str, bytes]:
    """A module of 3 MiB with weights of its own: an adapter of as high a rank as that takes."""
    return module_files(fill=float(number), version=f"1.0.{number}", rank=SMALL_BYTES // 4 // (2 * HIDDEN))


def push_seconds(place: Place, rounds: int) -> dict[str, list[float]]:
    """Seconds of each push of a small module, by the way it went, taken in turns."""
    hub = HfApi(endpoint=place.server.url, token=place.token)
    seconds: dict[str, list[float]] = {"huggingface_hub, upload_folder": [], "bare httpx, preupload and commit": []}
    with tempfile.TemporaryDirectory() as scratch, place.client() as client:
        for name in ("by-hub", "by-httpx"):
            make_repository(client, f"{NAMESPACE}/{name}")
        for number in range(rounds):
            folder = write(Path(scratch) / str(number), small_module(2 * number))
            seconds["huggingface_hub, upload_folder"].append(
                timed(lambda folder=folder: hub.upload_folder(repo_id=f"{NAMESPACE}/by-hub", folder_path=folder))
            )
            files = small_module(2 * number + 1)
            seconds["bare httpx, preupload and commit"].append(timed(lambda files=files: _commit(client, files)))
    return seconds


def bytes_pushed(place: Place) -> tuple[int, int, bool]:
    """Bytes that huggingface_hub sends for a new module of 3 MiB and for the same again; whether that made a commit."""
    with relay(place.server.url) as count, tempfile.TemporaryDirectory() as scratch, place.client() as client:
        repo_id = f"{NAMESPACE}/again"
        make_repository(client, repo_id)
        folder = write(Path(scratch) / "module", small_module(0))
        hub, sent = HfApi(endpoint=count.url, token=place.token), []
        heads = []
        for _ in range(2):
            before = count.sent
            hub.upload_folder(repo_id=repo_id, folder_path=folder)
            sent.append(count.sent - before)
            heads.append(client.get(f"/api/models/{repo_id}").json()["sha"])
    return sent[0], sent[1], heads[0] != heads[1]


def large_seconds(place: Place, mib: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of large pushes and pulls, the registry's and those of HTTP with sha256 alone, taken in turns.

    `push, synced` is the push to the server that writes and syncs besides.
    """
    names = ("push", "push, baseline", "push, synced", "pull", "pull, baseline")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch, place.client() as client:
        file = Path(scratch) / "large.safetensors"
        repo_id = f"{NAMESPACE}/large"
        make_repository(client, repo_id)
        with _baseline(file) as baseline:
            for number in range(rounds):
                file.write_bytes(safetensors({"weight": (mib * MIB // 4,)}, fill=float(number)))
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                seconds["push, baseline"].append(timed(lambda: _put(baseline, "/", file)))
                seconds["push, synced"].append(timed(lambda: _put(baseline, "/synced", file)))
                seconds["push"].append(timed(lambda digest=digest: push_large(client, repo_id, file, digest)))
                seconds["pull, baseline"].append(timed(lambda digest=digest: _pull(baseline, "/", digest)))
                path = f"/{repo_id}/resolve/main/{file.name}"
                seconds["pull"].append(timed(lambda path=path, digest=digest: _pull(client, path, digest)))
    return seconds


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True)
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return folder


def middle_ms(seconds: list[float]) -> float:
    """The median in milliseconds."""
    return statistics.median(seconds) * 1000


def _commit(client: httpx.Client, files: dict[str, bytes]) -> None:
    listed = [{"path": path, "size": len(data), "sample": ""} for path, data in files.items()]
    at = f"/api/models/{NAMESPACE}/by-httpx"
    client.post(f"{at}/preupload/main", json={"files": listed}).raise_for_status()
    client.post(f"{at}/commit/main", content=commit_body(files)).raise_for_status()


def push_large(client: httpx.Client, repo_id: str, file: Path, digest: str) -> None:
    named = {"oid": digest, "size": file.stat().st_size}
    body = {"operation": "upload", "transfers": ["basic"], "objects": [named], "hash_algo": "sha256"}
    batch = client.post(f"/{repo_id}.git/info/lfs/objects/batch", json=body).raise_for_status().json()
    _put(client, batch["objects"][0]["actions"]["upload"]["href"], file)
    line = '{"key":"header","value":{"summary":"Push"}}\n{"key":"lfsFile","value":{"path":"%s","algo":"sha256",'
    line = (line + '"oid":"%s","size":%d}}\n') % (file.name, digest, named["size"])
    client.post(f"/api/models/{repo_id}/commit/main", content=line.encode()).raise_for_status()


def _put(client: httpx.Client, address: str, file: Path) -> None:
    length = {"content-length": str(file.stat().st_size)}
    client.put(address, content=_chunks(file), headers=length).raise_for_status()


def _pull(client: httpx.Client, path: str, expected: str) -> None:
    digest = hashlib.sha256()
    with client.stream("GET", path) as answer:
        for chunk in answer.iter_raw(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise RuntimeError(f"{path}: other bytes")


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


@contextmanager
def _baseline(file: Path) -> Iterator[httpx.Client]:
    port_file = file.with_name("baseline.port")
    command = [sys.executable, "-m", "tests.benchmarks.http_sha256", str(file), str(port_file)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_S
        while not port_file.exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the baseline did not start")
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{port_file.read_text()}", timeout=120, trust_env=False) as client:
            yield client
    finally:
        process.kill()
        process.wait()
