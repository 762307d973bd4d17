"""`petapter tune --engine ray`: Ray is started for the run and stopped after it; what does not go is one line."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.hub_client.conftest import Petapter
from tests.hub_client.test_tune import QUICK, ROWS, write
from tests.hub_client.tiny_reviews import TASK


@pytest.fixture
def words(still_backbone: Path, tmp_path: Path) -> tuple[object, ...]:
    rows = write(tmp_path / "rows.csv", ROWS)
    return ("tune", rows, *TASK, *QUICK, "--own-only", "--backbone", still_backbone, "--json", "--out")


@pytest.mark.slow
def test_members_trained_over_ray_say_what_they_say_here_and_ray_is_gone_afterwards(
    petapter: Petapter, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = petapter(*words, tmp_path / "here")
    ran = petapter(*words, tmp_path / "ray", "--engine", "ray", "--ray-workers", "1")
    assert (here.code, ran.code) == (0, 0), ran.err
    one: Any = here.json
    other: Any = json.loads(ran.out)
    assert other["vote"]["loss"] == pytest.approx(one["vote"]["loss"], abs=1e-5)
    assert other["vote"]["accuracy"] == one["vote"]["accuracy"]
    assert [each["template"] for each in other["patterns"]] == [each["template"] for each in one["patterns"]]
    assert not ray.is_initialized()


def test_workers_without_ray_are_one_line(petapter: Petapter, words: tuple[object, ...], tmp_path: Path) -> None:
    ran = petapter(*words, tmp_path / "tuned", "--ray-workers", "2")
    assert "--ray-address and --ray-workers are about --engine ray" in ran.error


def test_address_where_nobody_listens_is_one_line_before_anything_is_searched(
    petapter: Petapter, words: tuple[object, ...], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, so that nobody else takes it, but not listening
        address = f"127.0.0.1:{free.getsockname()[1]}"
        ran = petapter(*words, tmp_path / "tuned", "--engine", "ray", "--ray-address", address)
    assert f"no Ray cluster answers at {address}" in ran.error
    assert not (tmp_path / "tuned").exists()


def test_without_ray_one_line_says_what_to_install(
    petapter: Petapter, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter.runtime.ray_cluster.find_spec", lambda _name: None)
    ran = petapter(*words, tmp_path / "tuned", "--engine", "ray")
    assert "pip install 'petapter[ray]'" in ran.error
