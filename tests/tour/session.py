"""One person's shell: a bash in an empty home that runs one command after the other and hands over what each showed."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ENDED = "\x1e"


@dataclass(frozen=True)
class Shown:
    """What a command left on the terminal.

    Attributes:
        text: Standard output and standard error as they came.
        code: Its exit code.
        seconds: How long it took.
    """

    text: str
    code: int
    seconds: float


class Session:
    """A running bash."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, command: str) -> Shown:
        """Run a command, of one line or several, to its end.

        Raises:
            RuntimeError: The shell has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        started = time.monotonic()
        self._process.stdin.write(f"{command}\nprintf '\\n{_ENDED} %d\\n' $?\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_ENDED):
                return Shown(
                    "".join(lines).removesuffix("\n"), int(line.removeprefix(_ENDED)), time.monotonic() - started
                )
            lines.append(line)
        raise RuntimeError(f"the shell ended in {command!r}: {''.join(lines)}")


@contextmanager
def shell(directory: Path, environment: Mapping[str, str]) -> Iterator[Session]:
    """A shell in a directory; what still runs in its background ends with it."""
    process = subprocess.Popen(
        ["bash", "--norc", "--noprofile"], cwd=directory, env=dict(environment), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        yield Session(process)
        process.communicate("jobs -p | xargs -r kill\nwait\n", timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def home_environment(home: Path, programs: Path) -> dict[str, str]:
    """The environment of a user who has nothing configured and nothing cached."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "PETAPTER_", "HUGGING", "XDG_", "PYTEST_", "COLUMNS"))
    }
    return kept | {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LC_ALL": "C.UTF-8",
        "PS1": "",
    }
