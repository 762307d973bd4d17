"""Without a network: what was pulled works, the rest fails at once, and no socket is ever opened to the remote."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub_client.tiny_reviews import TASK, save_backbone, write_rows

Run = Callable[..., subprocess.CompletedProcess[str]]
REMOTE_FAILED = 3


@pytest.fixture(scope="module")
def pulled(petapter: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stack whose module was pulled while there was a network, and its backbone."""
    folder = tmp_path_factory.mktemp("offline")
    backbone = save_backbone(folder / "tiny-bert")
    rows = write_rows(folder / "reviews.csv")
    petapter("train", rows, "--out", folder / "m", *TASK, "--backbone", backbone, "--preset", "plain", "--steps", "2")
    petapter("push", folder / "m", "team/offline")
    petapter("pull", "team/offline")
    (folder / "stack.yaml").write_text("backbone: ./tiny-bert\nmodules:\n  reviews: lab:team/offline\n")
    petapter("stack", "lock", folder / "stack.yaml")
    return folder / "stack.yaml", backbone


@pytest.fixture
def watched() -> Iterator[tuple[dict[str, str], list[int]]]:
    """Variables that lead every request to a port, and a list that grows with who comes there."""
    came: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as trap:

        def count() -> None:
            while True:
                try:
                    connection, _ = trap.accept()
                except OSError:
                    return
                came.append(1)
                connection.close()

        threading.Thread(target=count, daemon=True).start()
        yield {"http_proxy": f"http://127.0.0.1:{trap.getsockname()[1]}", "no_proxy": "", "NO_PROXY": ""}, came
        trap.shutdown(socket.SHUT_RDWR)


WORKING = (
    ("info", "lab:team/offline", "--json"),
    ("pull", "lab:team/offline", "--json"),
    ("pull", "lab:team/offline@v0.1.0", "-q"),
    ("list",),
    ("verify",),
)
FAILING = (
    ("pull", "lab:team/other"),
    ("search",),
    ("whoami",),
    ("channel", "list", "lab:team/offline"),
    ("yank", "lab:team/offline@v0.1.0", "--reason", "x"),
)


@pytest.mark.slow  # torch is imported by two processes
def test_modules_and_stacks_run_without_a_network(
    cold_petapter: Run, pulled: tuple[Path, Path], watched: tuple[dict[str, str], list[int]]
) -> None:
    stack, backbone = pulled
    proxy, came = watched
    env = proxy | {"HF_HUB_OFFLINE": "1"}
    asked = ("predict", "--module", "lab:team/offline", "--backbone", backbone, "great food", "--json")
    assert json.loads(cold_petapter(*asked, env=env).stdout)[0]["predictions"][0]["label"] in {"good", "bad"}
    assert "as locked" in cold_petapter("stack", "sync", "--frozen", stack, env=env).stdout
    (line,) = (
        cold_petapter("push", stack.parent / "m", "team/x", code=REMOTE_FAILED, env=env).stderr.strip().splitlines()
    )
    assert "is not asked" in line
    assert came == []


def test_what_was_pulled_is_there_and_nothing_is_asked(
    cold_petapter: Run, pulled: tuple[Path, Path], watched: tuple[dict[str, str], list[int]]
) -> None:
    proxy, came = watched
    for command in WORKING:
        cold_petapter(*command, "--offline", env=proxy)
    for command in FAILING:
        (line,) = cold_petapter(*command, "--offline", code=REMOTE_FAILED, env=proxy).stderr.strip().splitlines()
        assert line.startswith("error: remote 'lab' is not asked, because of --offline or HF_HUB_OFFLINE")
    assert came == []


def test_the_trap_catches_who_asks(cold_petapter: Run, watched: tuple[dict[str, str], list[int]]) -> None:
    proxy, came = watched
    cold_petapter("search", code=REMOTE_FAILED, env=proxy)
    assert came != []
