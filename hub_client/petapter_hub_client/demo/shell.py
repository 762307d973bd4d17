"""Runs the demo's commands as a person would type them: each line is shown, then run as it stands."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Self

from rich.console import Console

from petapter_hub_client.demo.ending import Ending
from petapter_schemas.errors import PetapterError

_POLL_S = 0.1


@dataclass(frozen=True)
class Shell:
    """A directory, variables, and a terminal to write to.

    Attributes:
        directory: Where the commands run; relative paths in them start here.
        variables: What is set beyond the environment of this process.
        console: Standard output, with colours where it is a terminal.
        ending: Says when the running command, and with it the demo, has to end.
    """

    directory: Path
    variables: Mapping[str, str]
    console: Console
    ending: Ending = field(default_factory=Ending)

    def title(self, text: str) -> None:
        """Begin a step."""
        self.console.print(f"\n{text}", style="bold cyan", highlight=False, markup=False, soft_wrap=True)

    def remark(self, text: str) -> None:
        """Write a sentence of explanation."""
        wraps = self.console.is_terminal
        self.console.print(text, style="dim", highlight=False, markup=False, soft_wrap=not wraps)

    def show(self, *lines: str) -> None:
        """Write a command; several lines are continued with a backslash."""
        self.console.print("$ " + " \\\n    ".join(lines), style="bold", highlight=False, markup=False, soft_wrap=True)

    def run(self, *lines: str, stdin: str | None = None) -> None:
        """Show a command, run it, and let it write to the terminal itself.

        Args:
            lines: The command, in shell syntax.
            stdin: Name of a file that it reads from standard input.

        Raises:
            PetapterError: It failed; it has said why.
        """
        self.show(*lines[:-1], lines[-1] if stdin is None else f"{lines[-1]} < {stdin}")
        words = shlex.split(" ".join(lines))
        started = time.monotonic()
        with (self.directory / stdin if stdin is not None else Path(os.devnull)).open("rb") as source:
            process = subprocess.Popen(  # noqa: S603 (the demo's own words)
                [program(words[0]), *words[1:]], cwd=self.directory, env=self._environment(), stdin=source
            )
            code = self._wait(process)
        if code != 0:
            command = " ".join(words[:2])
            raise PetapterError(f"the demo stops: '{command}' ended with exit code {code}, see above")
        self.remark(f"({time.monotonic() - started:.1f} s)")

    def start(self, line: str, log: IO[bytes]) -> "subprocess.Popen[str]":
        """Show a command and leave it running in the background; the caller ends it.

        Args:
            line: The command, in shell syntax.
            log: Takes its standard error; its standard output is left to the caller.
        """
        self.show(f"{line} &")
        words = shlex.split(line)
        return subprocess.Popen(  # noqa: S603 (the demo's own words)
            [program(words[0]), *words[1:]],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def export(self, **directories: str) -> Self:
        """Show and set variables that name directories below this one."""
        self.show("export " + " ".join(f'{name}="$PWD/{path}"' for name, path in directories.items()))
        added = {name: str(self.directory / path) for name, path in directories.items()}
        return replace(self, variables={**self.variables, **added})

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while process.poll() is None and not self.ending.is_asked:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_POLL_S)
        if self.ending.is_asked:
            self.ending.end(process)
        return process.returncode

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}


def program(name: str) -> str:
    """The program of this installation, whether or not PATH leads to it.

    Raises:
        PetapterError: It is not beside this Python.
    """
    folder = programs_folder()
    found = shutil.which(name, path=str(folder))
    if found is None:
        raise PetapterError(f"there is no {name} in {folder}: install petapter with pip, in an environment of its own")
    return found


def programs_folder() -> Path:
    """Where this installation's programs are: beside Python."""
    return Path(sys.executable).parent
