"""Keeps one registry process running while the demo talks to it, and ends it whatever happens."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from petapter_hub_client.demo.ending import end_soon
from petapter_hub_client.demo.shell import Shell
from petapter_schemas.errors import PetapterError

LOG_FILE = "registry.log"
TOKEN_FILE = "admin-token"  # noqa: S105 (a file's name)

_PORT_FILE = "registry-port"
_START_TIMEOUT_S = 60
_POLL_S = 0.05


@dataclass(frozen=True)
class Registry:
    """A registry that takes requests.

    Attributes:
        url: Its address.
        port: The free port that it took.
    """

    url: str
    port: int


@contextmanager
def serve_registry(shell: Shell) -> Iterator[Registry]:
    """Run a registry on a free port of this machine; the first admin token goes to TOKEN_FILE, readable by its owner.

    Raises:
        PetapterError: It did not start.
    """
    with (shell.directory / LOG_FILE).open("wb") as log:
        process = shell.start(f"petapter-registry serve --data registry --port 0 --port-file {_PORT_FILE}", log=log)
        try:
            registry = _wait(process, shell)
            _keep_token(process, shell.directory / TOKEN_FILE)
            yield registry
        finally:
            process.terminate()
            end_soon(process)
            process.communicate()  # closes the pipe


def _wait(process: "subprocess.Popen[str]", shell: Shell) -> Registry:
    port_file, log = shell.directory / _PORT_FILE, shell.directory / LOG_FILE
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.is_file():
            port = int(port_file.read_text(encoding="utf-8"))
            registry = Registry(f"http://127.0.0.1:{port}", port)
            if _answers(registry.url):
                return registry
        if shell.ending.is_asked:
            shell.ending.end(process)
        time.sleep(_POLL_S)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise PetapterError(f"the registry did not start: {lines[-1] if lines else 'it gave no reason'} (see {log})")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _keep_token(process: "subprocess.Popen[str]", path: Path) -> None:
    """Take the token from the greeting, which is complete once the registry answers."""
    words = (word for line in process.stdout or () for word in line.split())
    token = next(word for word in words if word.startswith("ppt_"))
    path.touch(mode=0o600)
    path.write_text(f"{token}\n", encoding="utf-8")
