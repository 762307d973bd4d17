"""Pulls that are cut off, killed or meet a full disk: nothing half is visible, and the next one goes on there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.exit_codes import ExitCode
from petapter_schemas.durable import write_file_durably
from tests.cutting_proxy import Proxy, proxied
from tests.hub_client.conftest import Petapter, Registry, files_below
from tests.registry_process import BIN
from tests.schemas.tiny_module import TinyModule, put_file

LARGE = "notes.txt"
SIZE = 900_000
START_S = 60


@pytest.fixture
def far(
    lab: Petapter, registry: Registry, tiny_module: TinyModule, tmp_path: Path, repo_id: str
) -> Iterator[tuple[str, Proxy]]:
    """A module with one large file on a remote `far`, behind a proxy."""
    text = b"".join(b"line %06d\n" % number for number in range(SIZE // 12))
    lab("push", put_file(tiny_module(tmp_path / "m"), LARGE, text), repo_id)
    with proxied(registry.url) as proxy:
        lab("remote", "add", "far", proxy.url)
        lab("login", "far", "--token", registry.token)
        proxy.name = LARGE
        yield f"far:{repo_id}", proxy


def modules(tmp_path: Path) -> list[str]:
    """Petapter.json of every module that is visible."""
    return [name for name in files_below(tmp_path / "cache") if name.endswith("petapter.json")]


LIMITED = """
import os, resource, sys
limit_bytes = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
os.execv(sys.argv[2], sys.argv[2:])
"""


def start(*arguments: str, limit_bytes: int | None = None) -> subprocess.Popen[str]:
    """Start the command line, which may be forbidden to write files larger than a limit."""
    limit = [] if limit_bytes is None else [sys.executable, "-c", LIMITED, str(limit_bytes)]
    command = [*limit, str(BIN / "petapter"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_part(tmp_path: Path) -> Path:
    """The unfinished large file, once the pull holds some of it."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        for path in (tmp_path / "cache").rglob(".parts/*"):
            if path.stat().st_size > 100_000:
                return path
        time.sleep(0.02)
    raise AssertionError("no bytes of the large file came")


def test_connection_that_breaks_once_is_taken_up_where_it_broke(lab: Petapter, far: tuple[str, Proxy]) -> None:
    reference, proxy = far
    proxy.cut_after = 600_000
    ran = lab("pull", reference)
    assert ran.code == 0, ran
    first, second = proxy.ranges(LARGE)
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 500_000


def test_connection_that_breaks_for_good_keeps_what_came_and_the_next_pull_goes_on(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("petapter_hub_client.downloading._PAUSE_S", 0.01)
    reference, proxy = far
    proxy.cut_after, proxy.cuts_left = 0, 1000
    ran = lab("pull", reference)
    assert ran.code == ExitCode.REMOTE_FAILED
    assert "run the same command again, which continues there" in ran.error
    assert modules(tmp_path) == []
    proxy.cut_after, proxy.cuts_left = 300_000, 1
    assert lab("pull", reference).code == 0
    assert proxy.ranges("head.safetensors") == [None]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_pull_that_is_stopped_goes_on_later(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path, number: signal.Signals
) -> None:
    reference, proxy = far
    proxy.hold_after = 600_000
    process = start("pull", reference)
    wait_for_part(tmp_path)
    process.send_signal(number)
    _, problems = process.communicate(timeout=START_S)
    assert modules(tmp_path) == []
    if number == signal.SIGINT:
        assert process.returncode == ExitCode.INTERRUPTED
        assert problems.strip() == "interrupted: run the same command again to go on"
    proxy.let_go.set()
    pulled: Any = lab("pull", reference, "--json").json
    assert (Path(pulled["directory"]) / LARGE).read_bytes() == (tmp_path / "m" / LARGE).read_bytes()
    assert proxy.ranges(LARGE)[-1] is not None
    assert len(proxy.ranges("head.safetensors")) == 1
    assert [name for name in files_below(tmp_path / "cache") if ".parts" in name or ".scratch" in name] == []


@pytest.mark.parametrize("asked", ["/api/petapter/v1/modules/", "/revision/", "/petapter.json"])
def test_ctrl_c_while_the_remote_is_asked_leaves_nothing(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path, asked: str
) -> None:
    reference, proxy = far
    proxy.hold_request = ("GET", asked)
    process = start("pull", reference)
    assert proxy.held.wait(START_S)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=START_S)
    assert (process.returncode, problems) == (
        ExitCode.INTERRUPTED,
        "interrupted: run the same command again to go on\n",
    )
    assert files_below(tmp_path / "cache") == []
    proxy.let_go.set()
    assert lab("pull", reference).code == 0


def test_pull_that_waits_for_another_says_so_and_can_be_stopped(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path
) -> None:
    reference, proxy = far
    proxy.hold_after = 600_000
    first = start("pull", reference, "--json")
    wait_for_part(tmp_path)
    second = start("pull", reference)
    assert second.stderr is not None
    assert "another petapter process is at work in" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert second.communicate(timeout=START_S)[1] == "interrupted: run the same command again to go on\n"
    proxy.let_go.set()
    shown, _ = first.communicate(timeout=START_S)
    assert (first.returncode, json.loads(shown)["was_cached"]) == (0, False)


def test_full_disk_beside_the_cache_is_one_line_too(lab: Petapter, far: tuple[str, Proxy], tmp_path: Path) -> None:
    reference, _ = far
    lab("pull", reference)
    process = start("pull", reference, "--out", str(tmp_path / "copy"), limit_bytes=400_000)
    _, problems = process.communicate(timeout=START_S)
    (line,) = problems.strip().splitlines()
    assert process.returncode == ExitCode.REFUSED
    assert line.endswith("File too large")
    assert not (tmp_path / "copy").exists()


def test_leftovers_that_are_wrong_are_thrown_away_and_fetched(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path
) -> None:
    reference, proxy = far
    proxy.hold_after = 600_000
    process = start("pull", reference)
    part = wait_for_part(tmp_path)
    process.kill()
    process.communicate()
    proxy.let_go.set()
    part.write_bytes(b"\0" * part.stat().st_size)  # as a disk may leave it that lost its power
    ran = lab("pull", reference)
    assert ran.code == 0, ran
    assert "fetching all of it" in ran.err


def test_full_disk_is_one_line_and_what_came_is_kept(lab: Petapter, far: tuple[str, Proxy], tmp_path: Path) -> None:
    """No file may grow over 400,000 bytes, so the large one fails in its midst as on a disk without room."""
    reference, proxy = far
    process = start("pull", reference, limit_bytes=400_000)
    _, problems = process.communicate(timeout=START_S)
    (line,) = problems.strip().splitlines()
    assert process.returncode == ExitCode.REFUSED
    assert "has no room left (File too large)" in line
    assert "petapter remove --older-than 30d" in line
    assert modules(tmp_path) == []
    assert lab("pull", reference).code == 0
    assert proxy.ranges(LARGE)[-1] == "bytes=400000-"


def test_disk_without_room_is_told_before_anything_comes(
    lab: Petapter, far: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, proxy = far
    usage = type("Usage", (), {"free": 1_500_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    error = lab("pull", reference).error
    assert "more bytes and has 1,500,000" in error
    assert proxy.ranges("head.safetensors") == []


@pytest.fixture
def close_cache(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Takes the right to write from every directory of the cache, until the end."""
    closed: list[Path] = []

    def close() -> None:
        cache = tmp_path / "cache"
        closed.extend([*(path for path in cache.rglob("*") if path.is_dir()), cache])
        for path in closed:
            path.chmod(0o555)

    yield close
    for path in reversed(closed):
        path.chmod(0o755)


def run_ordinarily(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with the rights that files give, which root would not need (util-linux takes that away)."""
    bounded = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if bounded and shutil.which("setpriv") is None:
        pytest.skip("root can write everything, and there is no setpriv")
    command = [*bounded, str(BIN / "petapter"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_read_only_cache_gives_what_it_has_and_refuses_the_rest_in_one_line(
    lab: Petapter, far: tuple[str, Proxy], tmp_path: Path, close_cache: Callable[[], None], tiny_module: TinyModule
) -> None:
    reference, _ = far
    lab("pull", reference)
    lab("push", tiny_module(tmp_path / "m2"), f"{reference.partition(':')[2]}-other")
    close_cache()
    held = run_ordinarily("pull", reference, "--json")
    assert (held.returncode, held.stderr) == (0, "")
    assert '"was_cached": true' in held.stdout
    for command in (("pull", f"{reference}-other"), ("remove", reference, "--yes")):
        refused = run_ordinarily(*command)
        assert refused.returncode == ExitCode.REFUSED
        (line,) = refused.stderr.strip().splitlines()
        assert "cannot be written (Permission denied): let PETAPTER_CACHE_DIR name" in line
    assert len(modules(tmp_path)) == 1


def test_durable_file_is_whole_or_as_before_where_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "refs.json"
    write_file_durably(path, b"old")
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom petapter_schemas.durable import write_file_durably\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\nwrite_file_durably(Path(sys.argv[1]), b'n' * 100)"
    )
    assert subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=False).returncode != 0
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["refs.json"]
