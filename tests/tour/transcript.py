"""A person's session with the client at a terminal of 100 columns, made anew against a real registry over a slow line.

    python -m tests.tour.transcript    # writes tests/assets/transcripts/client.txt

tmux is the terminal: what stands there is what its screen showed, with the bars as they were while a command ran.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.registry_process import BIN, new_token, serving
from tests.schemas import tiny_module
from tests.tour.readme import DATA, PRINTED_HOME, PRINTED_REGISTRY, ROOT
from tests.tour.session import home_environment

TRANSCRIPT = ROOT / "tests" / "assets" / "transcripts" / "client.txt"
COLUMNS, LINES = 100, 60
BYTES_PER_S = 3_000_000
_BAR = "━"
_PIECE = 1 << 15
_WIDE = 800_000
_LONGEST_S = 300.0

ABOUT = f"""\
A session at a terminal of {COLUMNS} columns, as it was shown: the client against a registry on the same
machine, over a line of 3 MB/s. The lines with bars were on the screen while the command ran, and were
gone when it ended. team/big is a module of 19 MB for another backbone. Made by tests/tour/transcript.py.
"""


@dataclass(frozen=True)
class Typed:
    """What a person types.

    Attributes:
        line: The command.
        answers: What is typed while it runs, each once the screen shows the words before it; `^C` is Ctrl-C.
    """

    line: str
    answers: tuple[tuple[str, str], ...] = ()


def session(token: str) -> Sequence[Typed]:
    """The whole session; a token is typed and never shown."""
    return (
        Typed("petapter remot list"),
        Typed("petapter remote add lab LAB --default"),
        Typed("petapter login", (("Token for lab:", "ppt_wrong"),)),
        Typed("petapter login", (("Token for lab:", token),)),
        Typed("petapter push intents team/intents --dry-run"),
        Typed("petapter push intents team/intents"),
        Typed("petapter push big team/big"),
        Typed("petapter push later team/intents --bump minor -q"),
        Typed("petapter search --label GetWeather"),
        Typed("petapter pull team/intnets"),
        Typed("petapter pull team/big --backbone minilm; echo $?"),
        Typed("petapter pull team/big", ((_BAR, "^C"),)),
        Typed("petapter pull team/big"),
        Typed("petapter pull team/intents@v0.1.0"),
        Typed("petapter keys new ada"),
        Typed("petapter sign team/intents@v0.1.0"),
        Typed("petapter verify team/intents@v0.1.0"),
        Typed("petapter stack lock"),
        Typed("petapter suggest few.csv"),
        Typed("petapter yank team/intents@v0.1.0 --reason 'labels were swapped'"),
        Typed("petapter audit; echo $?"),
        Typed("petapter list"),
        Typed("PETAPTER_TOKEN_LAB=ppt_revoked petapter pull team/intents@v0.1.0; echo $?"),
        Typed("petapter search --offline; echo $?"),
        Typed("petapter drift team/intents june.csv; echo $?"),
        Typed("petapter diff team/intents@v0.1.0 team/intents@v0.2.0 --data june.csv --flips 2"),
        Typed("petapter remove team/big", (("[y/N]", "y"),)),
        Typed("petapter train train.csv --out x --preset strng"),
    )


class Terminal:
    """A bash in a tmux of its own."""

    def __init__(self, work: Path, environment: dict[str, str]) -> None:
        self._environment = environment | {"PS1": "$ ", "TERM": "xterm-256color"}
        self._ended = work.parent / "ended"
        self._ended.touch()
        self._socket = str(work.parent / "tmux")
        kept = f"printf '%s\\n' $? >> {self._ended}"
        shell = ["env", f"PROMPT_COMMAND={kept}", "bash", "--norc", "--noprofile"]
        self._tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), "-c", str(work), *shell)
        self._wait(1)

    def close(self) -> None:
        """End it."""
        self._tmux("kill-server")

    def run(self, typed: Typed) -> list[str]:
        """Type a line, and what stood on the screen: last bar of each kind, then what was left."""
        before, bars = self._count(), dict[str, str]()
        self._tmux("send-keys", "-R")
        self._tmux("clear-history")
        self._tmux("send-keys", "-l", typed.line)
        self._tmux("send-keys", "Enter")
        waiting = list(typed.answers)
        deadline = time.monotonic() + _LONGEST_S
        while self._count() == before:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{typed.line!r} does not end:\n{self._screen()}")
            shown = self._screen()
            bars |= {line.split(_BAR)[0].strip(): line.rstrip() for line in shown.splitlines() if _moves(line)}
            if waiting and waiting[0][0] in shown and (waiting[0][1] != "^C" or bars):
                self._type(waiting.pop(0)[1])
            time.sleep(0.15)
        lines = [line.rstrip() for line in self._screen().rstrip().splitlines()]
        while lines and lines[-1] in {"$", ""}:
            lines.pop()
        return [f"$ {typed.line}", *list(bars.values())[-2:], *_after_prompt(lines)]

    def _type(self, answer: str) -> None:
        if answer == "^C":
            time.sleep(0.5)
            self._tmux("send-keys", "C-c")
        else:
            self._tmux("send-keys", "-l", answer)
            self._tmux("send-keys", "Enter")

    def _screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    def _count(self) -> int:
        return len(self._ended.read_text().splitlines())

    def _wait(self, count: int) -> None:
        while self._count() < count:
            time.sleep(0.1)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout


def _moves(line: str) -> bool:
    """Whether a line is a bar with something done, and not the rule of a table (whose lines are thinner)."""
    return _BAR in line and any(digit.isdigit() for digit in line.rpartition(_BAR)[2])


def _after_prompt(lines: list[str]) -> list[str]:
    """What was left on the screen, without the line that was typed, which tmux hands over unfolded."""
    return lines[1:]


@contextmanager
def slow_line(url: str) -> Iterator[str]:
    """The address of a relay to a server that lets through so many bytes a second."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, (parts.hostname, parts.port)), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, target: tuple[str | None, int | None]) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection((target[0] or "", target[1] or 0))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
            time.sleep(len(piece) / BYTES_PER_S)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def prepare(work: Path, environment: dict[str, str]) -> None:
    """What the person has before the session: two modules, rows, a stack."""
    rows = (DATA / "snips" / "test.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    other = (DATA / "banking77" / "test.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (work / "held_out.csv").write_text("".join(rows[:141]))
    (work / "june.csv").write_text("".join([rows[0], *rows[-100:]]))
    (work / "few.csv").write_text("".join([rows[0], *rows[-35:]]))
    (work / "july.csv").write_text("".join(other[:101]))
    (work / "stack.yaml").write_text("modules:\n  intents: lab:team/intents@v0.1.0\n")
    shutil.copyfile(DATA / "snips" / "train.csv", work / "train.csv")
    for out, steps in (("intents", 25), ("later", 30)):
        words = ["train", "train.csv", "--out", out, "--name", "intents", "--task", DATA / "snips" / "task.yaml",
                 "--language", "en", "--license", "CC0-1.0", "--test", "held_out.csv", "--test-name", "snips",
                 "--preset", "plain", "--steps", steps, "-q"]  # fmt: skip
        subprocess.run([BIN / "petapter", *map(str, words)], cwd=work, env=environment, check=True)
    hidden, tiny_module.HIDDEN = tiny_module.HIDDEN, _WIDE
    try:
        tiny_module.build_tiny_module(work / "big", name="big")
    finally:
        tiny_module.HIDDEN = hidden


def take(prepared: Path, home: Path) -> None:
    """What an earlier run has prepared: its working directory, and the backbone in its cache."""
    shutil.copytree(prepared / "work", home / "work")
    below = Path(".cache") / "petapter" / "backbones"
    shutil.copytree(prepared / below, home / below)


def written(shown: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
    """Put what was shown into the transcript."""
    text = "\n".join([ABOUT, *shown]) + "\n"
    for found, printed in names:
        text = text.replace(found, printed)
    TRANSCRIPT.write_text(text, encoding="utf-8")


def main() -> None:
    """Write the transcript; the home of an earlier run, as argument, saves the minutes of training."""
    with tempfile.TemporaryDirectory(prefix="petapter-t-") as folder:
        home = Path(folder) / "home"
        work = home / "work"
        environment = home_environment(home, BIN) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        if sys.argv[1:]:
            take(Path(sys.argv[1]), home)
        else:
            work.mkdir(parents=True)
            prepare(work, environment)
        with serving(Path(folder) / "registry") as registry, slow_line(registry.url) as line:
            names = ((line, PRINTED_REGISTRY), (registry.url, PRINTED_REGISTRY), (str(home), PRINTED_HOME))
            terminal = Terminal(work, environment)
            shown: list[str] = []
            try:
                for typed in session(new_token(registry.data)):
                    shown += terminal.run(replace(typed, line=typed.line.replace("LAB --", f"{line} --")))
                    written(shown, names)
            finally:
                terminal.close()


if __name__ == "__main__":
    main()
