"""Runs a program that reaches no network and is ended when it takes too long, too much memory or disk, or is unwanted.

Three programs of util-linux stand before it, each replaced by the next: `setpriv` lets it die with this process and
gain no privileges, `prlimit` sets its limits, `unshare` gives it namespaces of its own: of users, network (without even
a loopback that is up), processes, mounts and IPC. It needs no privilege where the kernel lets users make namespaces.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from petapter_registry_server.errors import ConfinementError

Isolation = Literal["namespaces", "none"]
Cause = Literal["ended", "timeout", "unwanted", "talkative"]

MAX_OUTPUT_BYTES = 1 << 20
_MAX_ERRORS_BYTES = 8 << 10
_OPEN_FILES = 512
_FILE_BYTES = 4096
"""Of each file that is written: nothing has to be, but `tempfile` of the standard library tries a few bytes."""
_PROBE_SECONDS = 20
_PROBE_BYTES = 1 << 30
_CHUNK = 1 << 16

_LEADING = ("setpriv", "--pdeathsig", "KILL", "--no-new-privs")
_APART = (
    "unshare", "--user", "--map-current-user", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child",
    "--mount-proc",
)  # fmt: skip
_PROBE = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2)
except OSError:
    print("apart")
else:
    print("reached")
"""


@dataclass(frozen=True)
class Limits:
    """What a program may take.

    Attributes:
        seconds: Of time on the clock.
        memory_bytes: Of address space.
        threads: With which it computes; it may take so many times `seconds` of the processors.
    """

    seconds: float
    memory_bytes: int
    threads: int = 1


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        cause: `ended`: by itself, or because of a limit that the kernel keeps. `timeout`, `unwanted`, `talkative`: it
            was ended, as it took too long, nobody wanted it any more, or it wrote more than `MAX_OUTPUT_BYTES`.
        code: Its exit code; of a signal its negative.
        output: What it wrote.
        errors: The end of what it wrote to standard error.
    """

    cause: Cause
    code: int
    output: bytes
    errors: str

    @property
    def was_killed(self) -> bool:
        """Whether the kernel ended it, by a signal: unshare of util-linux 2.38 cannot pass SIGKILL on, and says so."""
        return self.code < 0 or (self.code == 1 and self.last_line.startswith("unshare: "))

    @property
    def last_line(self) -> str:
        """The last thing it said to people."""
        lines = self.errors.strip().splitlines()
        return lines[-1].strip() if lines else ""


@dataclass(frozen=True)
class Confinement:
    """How programs are kept.

    Attributes:
        limits: What each may take.
        isolation: `none` keeps nobody from the network; only who knows why chooses it.
        beat_s: How often it is asked whether a program is still wanted.
    """

    limits: Limits
    isolation: Isolation = "namespaces"
    beat_s: float = 5.0

    def run(self, command: Sequence[str], directory: Path, is_wanted: Callable[[], bool] = lambda: True) -> Ended:
        """Run a program to its end, or end it.

        Args:
            command: Program and arguments.
            directory: Where it runs, and its home.
            is_wanted: Asked every `beat_s` seconds; what it raises goes on to the caller, once the program is ended.

        Raises:
            ConfinementError: The programs of util-linux are missing.
        """
        process = subprocess.Popen(  # noqa: S603 (this program, behind those that confine it)
            [*self._before(), *command],
            cwd=directory,
            env=_environment(directory, self.limits.threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            return _watched(process, self.limits.seconds, self.beat_s, is_wanted)
        finally:
            _end(process)

    def check(self, directory: Path) -> None:
        """See that a confined program runs here and does not reach this process by the network.

        Raises:
            ConfinementError: It does not run, or is not kept from the network though it should be.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            probe = Confinement(Limits(_PROBE_SECONDS, max(self.limits.memory_bytes, _PROBE_BYTES)), self.isolation)
            ended = probe.run([sys.executable, "-I", "-c", _PROBE, port], directory)
        said = ended.output.strip()
        if self.isolation == "none" and said in {b"apart", b"reached"}:
            return
        if said == b"reached":
            raise ConfinementError("a process in a network namespace of its own reaches this one: no job is taken")
        if said != b"apart":
            raise ConfinementError(
                f"no process can be kept from the network here ({ended.last_line or f'exit code {ended.code}'}): let "
                "users make namespaces (sysctl kernel.unprivileged_userns_clone=1, RestrictNamespaces= of systemd, "
                "the seccomp profile of a container), or set worker_isolation to 'none' where modules are trusted"
            )

    def _before(self) -> list[str]:
        limits, seconds = self.limits, self.limits.seconds
        processor = round(seconds * limits.threads) + 1
        limiting = (
            "prlimit", f"--as={limits.memory_bytes}", f"--cpu={processor}", f"--nofile={_OPEN_FILES}",
            f"--fsize={_FILE_BYTES}", "--core=0",
        )  # fmt: skip
        parts = [_LEADING, limiting, *([_APART] if self.isolation == "namespaces" else [])]
        return [word for program, *options in parts for word in (_find(program), *options)]


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ConfinementError(f"the program {program!r} is missing: install util-linux")
    return found


def _environment(home: Path, threads: int) -> Mapping[str, str]:
    """What a confined program sees: none of this process's variables, some of which are secrets."""
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path and Path(path).is_dir()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": str(threads),
    }


class _Pipe:
    """What a program writes, read by a thread of its own, so that the program never waits; no more than a limit."""

    def __init__(self, stream: IO[bytes] | None, at_most: int, *, keeps_end: bool = False) -> None:
        self._kept = bytearray()
        self._at_most = at_most
        self._keeps_end = keeps_end
        self._thread = threading.Thread(target=self._drain, args=(stream,), daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether more came than the limit."""
        return not self._keeps_end and len(self._kept) > self._at_most

    def read(self) -> bytes:
        """All that came, once the program has ended."""
        self._thread.join()
        return bytes(self._kept)

    def _drain(self, stream: IO[bytes] | None) -> None:
        if stream is None:
            return
        with stream:
            while not self.is_full and (chunk := stream.read1(_CHUNK)):  # type: ignore[attr-defined]
                self._kept += chunk
                if self._keeps_end:
                    del self._kept[: -self._at_most]


def _watched(process: subprocess.Popen[bytes], seconds: float, beat_s: float, is_wanted: Callable[[], bool]) -> Ended:
    output = _Pipe(process.stdout, MAX_OUTPUT_BYTES)
    errors = _Pipe(process.stderr, _MAX_ERRORS_BYTES, keeps_end=True)
    cause = _wait(process, seconds, beat_s, lambda: not output.is_full, is_wanted)
    _end(process)
    written = output.read()
    cause = "talkative" if output.is_full else cause
    return Ended(cause, process.returncode, written, errors.read().decode("utf-8", "replace"))


def _wait(
    process: subprocess.Popen[bytes],
    seconds: float,
    beat_s: float,
    is_brief: Callable[[], bool],
    is_wanted: Callable[[], bool],
) -> Cause:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        try:
            process.wait(min(beat_s, left))
        except subprocess.TimeoutExpired:
            if not is_brief():
                return "talkative"
            if not is_wanted():
                return "unwanted"
        else:
            return "ended"
    return "timeout"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a program: where `unshare` dies, so do all processes of its namespace."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
