"""A real registry process on a free port and real clients in processes of their own, for all tests that need them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from petapter_registry_server.db.engine import Database
from petapter_registry_server.db.postgres import PostgreSQL
from petapter_registry_server.services.accounts import Accounts

BIN = Path(sys.executable).parent
START_S = 60


@dataclass(frozen=True)
class Server:
    """A running `petapter-registry serve`."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    log_file: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text(encoding="utf-8")

    def kill(self) -> None:
        """End it without a chance to tidy up; a second time does nothing."""
        self.process.kill()
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.communicate()

    def stop(self) -> str:
        """End it politely and return what it printed."""
        self.process.terminate()
        printed, _ = self.process.communicate(timeout=30)
        return printed


def start(
    data: Path,
    programs: Path = BIN,
    *,
    database: str | None = None,
    blobs: str | None = None,
    replica: str = "",
    port: int = 0,
) -> Server:
    """Start a server of an installation; the port file appears once requests are queued.

    Replicas over one database share `data` and are told apart by `replica`. The store of `blobs` is in the environment.
    """
    port_file = data.parent / f"{data.name}{replica}.port"
    port_file.unlink(missing_ok=True)
    log_file = data.with_name(f"{data.name}{replica}.log")
    options = ["--data", data, "--port", str(port), "--port-file", port_file]
    options += ["--database", database] if database else []
    options += ["--blobs", blobs] if blobs else []
    command = [programs / "petapter-registry", "serve", *options]
    with log_file.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the server did not start: {process.communicate()[0]}")
        time.sleep(0.02)
    return Server(process, data, f"http://127.0.0.1:{port_file.read_text().strip()}", log_file)


@contextmanager
def serving(
    data: Path,
    programs: Path = BIN,
    *,
    database: str | None = None,
    blobs: str | None = None,
    replica: str = "",
) -> Iterator[Server]:
    """A server that is gone at the end, whatever happens."""
    server = start(data, programs, database=database, blobs=blobs, replica=replica)
    try:
        yield server
    finally:
        server.kill()


def new_token(data: Path, user: str = "ada", *, database_url: str | None = None) -> str:
    """A token for writing, made beside the running server as `petapter-registry token create` does."""
    location = PostgreSQL(database_url, connections=1) if database_url else data / "registry.sqlite"
    database = Database(location)
    try:
        return Accounts(database).issue_token(user, "write").secret
    finally:
        database.close()


def run(program: str, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of the installed programs to its end."""
    command = [BIN / program, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL, env=env
    )


@dataclass(frozen=True)
class Hub:
    """A client's machine: its own caches, its token, and the registry as its Hub."""

    server: Server
    home: Path
    token: str

    @property
    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        return kept | {
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": self.token,
            "HF_HOME": str(self.home / "hf"),
            "HF_XET_CACHE": str(self.home / "xet"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def hf(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `hf`."""
        return run("hf", *arguments, env=self.env)

    def python(self, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a script that uses the Hub's libraries."""
        return run("python", "-c", script, *arguments, env=self.env)
