"""The whole registry over an object store: what is pushed comes back, by the registry or by a presigned address."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from petapter_registry_server.settings import Settings
from petapter_schemas.digests import git_blob_sha1
from tests.registry_server.conftest import Registry, member_of_team, running
from tests.registry_server.module_bytes import module_files
from tests.registry_server.s3_server import S3Server
from tests.registry_server.test_downloads import downloads

pytestmark = pytest.mark.s3


@pytest.fixture
def registry(s3: S3Server, tmp_path: Path) -> Iterator[Registry]:
    settings = Settings(data=tmp_path / "data", blobs=f"s3://{s3.new_bucket()}/lab", redirect_above_bytes=100)
    with running(settings) as opened:
        yield opened


def test_module_comes_back_byte_for_byte(registry: Registry) -> None:
    team = member_of_team(registry)
    files = module_files()
    oid = team.published("team/tickets", files)
    for path, data in files.items():
        answer = team.get(f"/team/tickets/resolve/{oid}/{path}", follow_redirects=False)
        content = httpx.get(answer.headers["Location"]).content if answer.status_code == 302 else answer.content
        assert content == data


def test_next_version_is_checked_against_files_in_the_store(registry: Registry) -> None:
    team = member_of_team(registry)
    team.published("team/tickets", module_files())
    assert team.commit("team/tickets", {"notes.txt": b"x"}).status_code == 200
    assert team.commit("team/tickets", {"head.safetensors": b"broken"}).status_code == 400


def test_large_file_is_redirected_with_what_clients_read_of_it(registry: Registry) -> None:
    team = member_of_team(registry)
    data = b"0123456789" * 20
    oid = team.published("team/tickets", {"data.txt": data})
    answer = team.get("/team/tickets/resolve/main/data.txt", follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["X-Repo-Commit"] == oid
    assert answer.headers["ETag"] == answer.headers["X-Linked-ETag"] == f'"{git_blob_sha1(data)}"'
    assert answer.headers["X-Linked-Size"] == "200"
    assert answer.headers["Cache-Control"] == "no-store"
    part = httpx.get(answer.headers["Location"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, b"0123456789")


def test_redirect_to_the_first_file_is_a_download(registry: Registry) -> None:
    team = member_of_team(registry)
    team.published("team/tickets", module_files())
    answer = team.get("/team/tickets/resolve/main/petapter.json", follow_redirects=False)
    assert answer.status_code == 302
    assert downloads(registry) == 1


def test_small_file_and_head_are_answered_by_the_registry(registry: Registry) -> None:
    team = member_of_team(registry)
    team.published("team/tickets", {"small.txt": b"0123456789", "data.txt": b"x" * 200})
    part = team.get("/team/tickets/resolve/main/small.txt", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    described = team.call("HEAD", "/team/tickets/resolve/main/data.txt", follow_redirects=False)
    assert (described.status_code, described.headers["Content-Length"]) == (200, "200")


def test_stranger_gets_no_address_of_a_private_file(registry: Registry) -> None:
    team = member_of_team(registry)
    team.create("team/secret", private=True)
    team.published("team/secret", {"data.txt": b"x" * 200})
    answer = registry.anonymous.get("/team/secret/resolve/main/data.txt", follow_redirects=False)
    assert answer.status_code == 401
    assert "Location" not in answer.headers
