"""`petapter predict --engine ray`: Ray is started for the run and stopped after it; what does not go is one line."""

import json
import socket
from pathlib import Path

import pytest

from tests.hub_client.conftest import Petapter


@pytest.mark.slow
def test_local_ray_gives_the_same_files_and_is_gone_afterwards(
    petapter: Petapter, backbone: Path, module: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one = ("predict", "--module", module, "--backbone", backbone, "--input", data, "--check", "--json")
    assert petapter(*one, "--output", tmp_path / "here.csv").code == 0
    ran = petapter(*one, "--output", tmp_path / "ray.csv", "--engine", "ray", "--ray-workers", "1")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["rows"] == 4
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("fine", "--engine", "ray"), "--engine ray answers files"),
        (
            ("--input", "x.csv", "--output", "a.csv", "--engine", "ray", "--device", "cpu"),
            "--device is about --engine local",
        ),
        (("--input", "x.csv", "--output", "a.csv", "--ray-workers", "2"), "are about --engine ray"),
        (("--input", "x.csv", "--output", "a.csv", "--ray-address", "host:1"), "are about --engine ray"),
        (("--input", "x.csv", "--output", "a.csv", "--engine", "ray", "--ray-address", "ray://h:1"), "HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    arguments: tuple[str, ...], cause: str, petapter: Petapter, module: Path, backbone: Path
) -> None:
    pytest.importorskip("ray")
    assert cause in petapter("predict", "--module", module, "--backbone", backbone, *arguments).error


def test_address_where_nobody_listens_is_one_line(
    petapter: Petapter, module: Path, backbone: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, so that nobody else takes it, but not listening
        address = f"127.0.0.1:{free.getsockname()[1]}"
        ran = petapter(
            "predict", "--module", module, "--backbone", backbone, "--input", data, "--output", tmp_path / "a.csv",
            "--engine", "ray", "--ray-address", address,
        )  # fmt: skip
    assert f"no Ray cluster answers at {address}" in ran.error
    assert not (tmp_path / "a.csv.part.json").exists()


def test_without_ray_one_line_says_what_to_install(
    petapter: Petapter, module: Path, backbone: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter.runtime.ray_cluster.find_spec", lambda _name: None)
    ran = petapter(
        "predict", "--module", module, "--backbone", backbone, "--input", data, "--output", tmp_path / "a.csv",
        "--engine", "ray",
    )  # fmt: skip
    assert "pip install 'petapter[ray]'" in ran.error
