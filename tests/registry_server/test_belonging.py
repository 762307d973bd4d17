"""A database and blobs that do not belong together are refused before anything is collected."""

import shutil
from pathlib import Path

import pytest

from petapter_registry_server.app import create_app
from petapter_registry_server.errors import DataDirectoryError
from petapter_registry_server.settings import Settings
from tests.registry_process import run
from tests.registry_server.conftest import member_of_team, running


def blobs(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "blobs").rglob("*") if path.is_file())


def test_new_database_over_the_blobs_of_another_registry_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(Settings(data=data)) as registry:
        member_of_team(registry).published("team/tickets", {"a.txt": b"1"})
    for file in data.glob("registry.sqlite*"):
        file.unlink()
    before = blobs(data)
    with pytest.raises(DataDirectoryError, match="belong to two registries"):
        create_app(Settings(data=data))
    done = run("petapter-registry", "gc", "--data", data, "--grace", "0")
    assert (done.returncode, done.stderr.count("\n"), blobs(data)) == (1, 1, before)


def test_blobs_that_nobody_claimed_are_claimed_by_the_first_server(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "data")) as registry:
        member_of_team(registry).published("team/tickets", {"a.txt": b"1"})
    (tmp_path / "data" / "blobs" / "owner").unlink()
    for _ in range(2):
        app = create_app(registry.settings)
        app.state.database.close()
    assert "owner" in blobs(tmp_path / "data")


def test_moved_directory_is_the_same_registry(tmp_path: Path) -> None:
    with running(Settings(data=tmp_path / "here")) as registry:
        member_of_team(registry).published("team/tickets", {"a.txt": b"1"})
    shutil.move(tmp_path / "here", tmp_path / "there")
    with running(Settings(data=tmp_path / "there")) as again:
        assert again.anonymous.get("/team/tickets/resolve/main/a.txt").content == b"1"
