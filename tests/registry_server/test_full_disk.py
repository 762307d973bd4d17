"""A real server whose disk is full, or that may open no more files: it says so, loses nothing, and goes on later."""

import errno
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.registry_process import Server, new_token, serving
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

OLD = module_files()
NEW = module_files(version="1.1.0", fill=1.0)
DISK_BYTES = 16 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of its own of 16 MiB."""
    place = tmp_path / "data"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here (test_broken_disk.py refuses the same deeds in process)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def client(server: Server, token: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=120)


def push(api: httpx.Client, files: dict[str, bytes]) -> httpx.Response:
    return api.post("/api/models/team/tickets/commit/main", content=commit_body(files))


def make_module(api: httpx.Client) -> str:
    api.post("/api/repos/create", json={"name": "tickets", "organization": "team"}).raise_for_status()
    oid: str = push(api, OLD).raise_for_status().json()["commitOid"]
    return oid


def check_unchanged(api: httpx.Client, oid: str) -> None:
    assert api.get("/api/models/team/tickets").raise_for_status().json()["sha"] == oid
    for path, data in OLD.items():
        assert api.get(f"/team/tickets/resolve/main/{path}").content == data


def test_full_disk_is_507_loses_nothing_and_needs_no_restart(small_disk: Path) -> None:
    with serving(small_disk) as server:
        token = new_token(small_disk)
        with client(server, token) as api:
            oid = make_module(api)
            ballast = _fill(small_disk)
            refused = push(api, NEW)
            assert (refused.status_code, "disk is full" in refused.json()["error"]) == (507, True)
            assert api.post("/api/models/team/tickets/branch/next", json={}).status_code == 507
            check_unchanged(api, oid)
            ballast.unlink()
            check_unchanged(api, oid)
            newer = push(api, NEW).raise_for_status().json()["commitOid"]
        server.kill()
    with serving(small_disk) as server, client(server, token) as api:
        assert [commit["id"] for commit in api.get("/api/models/team/tickets/commits/main").json()][:2] == [newer, oid]


def _fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 (what ends the loop)
    return ballast


def test_no_more_open_files_is_503_and_over_as_soon_as_there_are_some(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, client(server, new_token(server.data)) as api:
        oid = make_module(api)
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (_first_free(server), before[1]))
        refused = push(api, NEW)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
        check_unchanged(api, oid)
        assert push(api, NEW).status_code == 200


def _first_free(server: Server) -> int:
    """The lowest number that no open file of a server has."""
    taken = {int(entry.name) for entry in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)
