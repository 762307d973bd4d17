"""Ctrl-C and SIGTERM end the demo in good order: they set a flag, so that no process is lost while it starts."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

_HEARD_TIMEOUT_S = 2
_END_TIMEOUT_S = 15


class Ending:
    """Whether somebody asked this process to end, and by which signal."""

    signal_number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the two signals instead of being interrupted by them."""
        previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @property
    def is_asked(self) -> bool:
        """Whether one of the two came."""
        return self.signal_number is not None

    def end(self, process: subprocess.Popen[Any]) -> NoReturn:
        """End a command so that it tidies up, as at Ctrl-C, and then this process with the shell's exit code for it."""
        if self.signal_number == signal.SIGINT:
            with suppress(subprocess.TimeoutExpired):
                process.wait(
                    timeout=_HEARD_TIMEOUT_S
                )  # the terminal told the command, too, unless it was just starting
        process.send_signal(signal.SIGINT)
        end_soon(process)
        sys.exit(128 + (self.signal_number or 0))

    def _note(self, number: int, _frame: object) -> None:
        self.signal_number = number


def end_soon(process: subprocess.Popen[Any]) -> None:
    """Wait a while for a process that was told to end; then end it."""
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_END_TIMEOUT_S)
    finally:
        process.kill()  # does nothing to a process that has ended
        process.wait()
