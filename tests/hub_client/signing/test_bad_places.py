"""Signing and policies where the disk, the cache or the person says no: one line, and nothing half there."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from petapter_hub_client.exit_codes import ExitCode
from tests.cutting_proxy import Proxy, proxied
from tests.hub_client.conftest import Petapter, Registry, files_below
from tests.hub_client.test_pull_resumes import START_S, run_ordinarily, start


@pytest.fixture
def far(lab: Petapter, registry: Registry, pushed: str) -> Iterator[tuple[str, Proxy]]:
    """The published version on a remote `far`, behind a proxy."""
    with proxied(registry.url) as proxy:
        lab("remote", "add", "far", proxy.url)
        lab("login", "far", "--token", registry.token)
        yield f"far:{pushed.removeprefix('lab:')}", proxy


@pytest.mark.parametrize(
    "asked", [("POST", "/branch/signatures"), ("POST", "/commit/signatures")], ids=["branch", "commit"]
)
def test_ctrl_c_while_a_signature_is_sent_leaves_what_the_same_command_completes(
    lab: Petapter, ada: str, far: tuple[str, Proxy], directory: Path, asked: tuple[str, str]
) -> None:
    assert ada
    reference, proxy = far
    proxy.hold_request = asked
    process = start("sign", str(directory), reference)
    assert proxy.held.wait(START_S)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=START_S)
    assert (process.returncode, problems) == (
        ExitCode.INTERRUPTED,
        "interrupted: run the same command again to go on\n",
    )
    proxy.hold_request = None
    proxy.let_go.set()
    assert lab("sign", directory, reference).code == 0
    lab("pull", reference)
    assert "signed by 'ada'" in lab("verify", reference).out


def test_full_disk_leaves_no_key(lab: Petapter, tmp_path: Path) -> None:
    process = start("keys", "new", "ada", limit_bytes=10)
    _, problems = process.communicate(timeout=START_S)
    assert process.returncode == ExitCode.REFUSED
    (line,) = problems.strip().splitlines()
    assert line.startswith("error: ")
    assert "File too large" in line
    assert files_below(tmp_path / "config" / "keys") == []
    assert lab("keys", "new", "ada").code == 0


def test_full_disk_leaves_no_half_signature(lab: Petapter, ada: str, directory: Path) -> None:
    assert ada
    process = start("sign", str(directory), limit_bytes=10)
    _, problems = process.communicate(timeout=START_S)
    assert process.returncode == ExitCode.REFUSED
    assert problems.startswith("error: ")
    assert files_below(directory / "signatures") == []
    assert lab("sign", directory).code == 0


def test_read_only_cache_is_judged_by_what_the_remote_says(
    lab: Petapter, ada: str, pushed: str, directory: Path, tmp_path: Path
) -> None:
    assert ada
    lab("sign", directory, pushed)
    assert lab("pull", pushed).code == 0
    lab("remote", "policy", "lab", "--require-signature")
    folders = [*(path for path in (tmp_path / "cache").rglob("*") if path.is_dir()), tmp_path / "cache"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        ran = run_ordinarily("pull", pushed, "--json")
    finally:
        for folder in reversed(folders):
            folder.chmod(0o755)
    assert ran.returncode == 0, ran
    assert '"was_cached": true' in ran.stdout
