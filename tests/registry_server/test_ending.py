"""SIGTERM while a server works: a push and a download under way come to their end, and so does the process, with 0."""

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.registry_process import Server, new_token, serving
from tests.registry_server.conftest import commit_body
from tests.registry_server.module_bytes import module_files

LARGE = b"0123456789abcdef" * (1 << 21)
"""32 MiB: more than the buffers of two sockets hold, so that a server that ended early would leave a part."""


def client(server: Server, token: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60)


def made(api: httpx.Client) -> None:
    api.post("/api/repos/create", json={"name": "tickets", "organization": "team"}).raise_for_status()


def end(server: Server, number: signal.Signals = signal.SIGTERM) -> None:
    server.process.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path / "data") as server:
        httpx.get(f"{server.url}/health").raise_for_status()
        end(server, number)
        assert server.process.wait(timeout=60) == 0


def test_push_under_way_is_acknowledged_and_kept(tmp_path: Path) -> None:
    files = module_files()
    body = commit_body(files)

    def sent(server: Server) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        end(server)
        yield body[len(body) // 2 :]

    with serving(tmp_path / "data") as server:
        token = new_token(server.data)
        with client(server, token) as api:
            made(api)
            answer = api.post("/api/models/team/tickets/commit/main", content=sent(server))
        assert answer.status_code == 200, answer.text
        assert server.process.wait(timeout=60) == 0
    with serving(tmp_path / "data") as server, client(server, token) as api:
        assert api.get("/api/models/team/tickets").json()["sha"] == answer.json()["commitOid"]
        for path, data in files.items():
            assert api.get(f"/team/tickets/resolve/main/{path}").content == data


def test_download_under_way_comes_whole(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        with client(server, new_token(server.data)) as api:
            made(api)
            _upload(api, LARGE)
            digest = hashlib.sha256()
            with api.stream("GET", "/team/tickets/resolve/main/large.txt") as answer:
                chunks = answer.iter_bytes(1 << 16)
                digest.update(next(chunks))
                end(server)
                for chunk in chunks:
                    digest.update(chunk)
        assert digest.hexdigest() == hashlib.sha256(LARGE).hexdigest()
        assert server.process.wait(timeout=60) == 0


def _upload(api: httpx.Client, data: bytes) -> None:
    """Send a file apart from the commit that names it."""
    wanted = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    asked = {"operation": "upload", "objects": [wanted]}
    (told,) = api.post("/team/tickets.git/info/lfs/objects/batch", json=asked).json()["objects"]
    api.put(told["actions"]["upload"]["href"], content=data).raise_for_status()
    lines = (
        '{"key": "header", "value": {"summary": "Large", "description": ""}}\n'
        f'{{"key": "lfsFile", "value": {{"path": "large.txt", "oid": "{wanted["oid"]}", "algo": "sha256"}}}}\n'
    )
    api.post("/api/models/team/tickets/commit/main", content=lines).raise_for_status()
