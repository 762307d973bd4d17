"""`petapter-registry reindex`: the whole index again, while no server runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from petapter_registry_server.cli import main
from petapter_registry_server.data_directory import DataDirectory
from tests.registry_server.conftest import Caller, Registry
from tests.registry_server.module_bytes import module_files


def reindex(place: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["petapter-registry", "reindex", *place])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_reindex_finds_what_was_lost(
    registry: Registry, team: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    team.published("team/tickets", module_files())
    registry.change("delete from module_terms", "delete from module_index")
    assert team.get("/api/petapter/v1/modules").json()["modules"] == []
    assert (reindex(registry.place_with_bytes, monkeypatch), capsys.readouterr().out) == (0, "search finds 1 modules\n")
    assert [m["id"] for m in team.get("/api/petapter/v1/modules?label=poor").json()["modules"]] == ["team/tickets"]


def test_reindex_beside_a_running_server_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with DataDirectory(registry.data).locked():
        assert reindex(registry.place_with_bytes, monkeypatch) == 1
    assert "already serves" in capsys.readouterr().err


def test_reindex_of_no_data_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reindex(["--data", str(tmp_path)], monkeypatch) == 1
    assert "is no data directory" in capsys.readouterr().err
