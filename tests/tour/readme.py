"""The tour of hub_client/README.md: runs its command blocks in order against a real registry, and writes it anew.

    python -m tests.tour.readme            # what differs
    python -m tests.tour.readme --write    # put what was shown into the README

A block is fenced as ```console: lines that begin with `$ ` are commands, typed by one person into one shell; what
follows is what they show. A ```python block after "## From Python" is a program of the same person.
"""

import argparse
import difflib
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.registry_process import new_token, serving
from tests.tour.alike import alike
from tests.tour.session import Session, home_environment, shell
from tests.tour.warm_petapter import warm_programs

ROOT = Path(__file__).parents[2]
README = ROOT / "hub_client" / "README.md"
DATA = ROOT / "hub_client" / "petapter_hub_client" / "demo" / "data"

PRINTED_HOME = "/home/you"
PRINTED_REGISTRY = "http://127.0.0.1:8470"
PRINTED_PORT = "8000"
"""Of `petapter serve`."""

_SLOWEST = 8

_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<'?(\w+)'?$")


@dataclass(frozen=True)
class Step:
    """A command of the README and what it says to show.

    Attributes:
        command: As printed, without the `$ `; of several lines where it goes on.
        output: As printed.
    """

    command: str
    output: str

    @property
    def printed(self) -> str:
        """As it stands in a block."""
        return f"$ {self.command}\n" + (f"{self.output}\n" if self.output else "")


@dataclass(frozen=True)
class Ran:
    """A step, and what it showed when it ran.

    Attributes:
        step: As printed.
        found: What it showed.
        code: Its exit code.
        seconds: How long it took.
    """

    step: Step
    found: str
    code: int
    seconds: float = 0.0

    @property
    def is_alike(self) -> bool:
        """Whether it showed what the README prints."""
        return alike(self.step.output, self.found)

    @property
    def has_failed(self) -> bool:
        """Whether it ended badly and nobody told the reader: an error that is shown belongs to the story."""
        return self.code != 0 and "error: " not in self.found

    @property
    def difference(self) -> str:
        """For people."""
        lines = difflib.unified_diff(self.step.output.splitlines(), self.found.splitlines(), "README", "now", n=99)
        return f"$ {self.step.command} (exit code {self.code})\n" + "\n".join(lines)


def steps_of(readme: str) -> list[Step]:
    """All commands of a README in their order."""
    return [step for block in _BLOCK.finditer(readme) for step in _steps(block, readme)]


def run_tour(readme: str, folder: Path) -> list[Ran]:
    """Run every command.

    Args:
        readme: The text.
        folder: Empty; takes the registry's data, the home and the working directory.
    """
    home = folder / "home"
    work = home / "tour"
    work.mkdir(parents=True)
    shutil.copytree(DATA, work / "data")
    environment = home_environment(home, folder / "programs")
    with serving(folder / "registry") as registry, warm_programs(folder / "programs", environment):
        (work / "token.txt").write_text(f"{new_token(registry.data)}\n")
        names = {PRINTED_REGISTRY: registry.url, f":{PRINTED_PORT}": f":{(port := _free_port())}",
                 f"--port {PRINTED_PORT}": f"--port {port}", PRINTED_HOME: str(home)}  # fmt: skip
        with shell(work, environment) as session:
            return [_run(session, step, names) for step in steps_of(readme)]


def rewritten(readme: str, ran: list[Ran]) -> str:
    """The README with what the commands showed; what is alike stays as it is printed."""
    shown = iter(ran)

    def block(match: re.Match[str]) -> str:
        found = [next(shown) for _ in _steps(match, readme)]
        if match[1] == "python":
            return match[0]
        kept = [one.step if one.is_alike else replace(one.step, output=one.found) for one in found]
        return f"```console\n{''.join(step.printed for step in kept)}```"

    return _BLOCK.sub(block, readme)


def _steps(block: re.Match[str], readme: str) -> Iterator[Step]:
    if block[1] == "python":
        if "\n## From Python\n" in readme[: block.start()]:
            yield Step(f"cat > program.py <<'END'\n{block[2]}END\npython program.py > program.txt", "")
        return
    lines = iter(block[2].splitlines())
    command, output = "", list[str]()
    for line in lines:
        if line.startswith("$ "):
            if command:
                yield Step(command, "\n".join(output))
            command, output = _whole(line.removeprefix("$ "), lines), []
        else:
            output.append(line)
    yield Step(command, "\n".join(output))


def _whole(line: str, more: Iterator[str]) -> str:
    """A command with the lines that belong to it: after a backslash, and those of a here-document."""
    lines = [line]
    while lines[-1].endswith("\\"):
        lines.append(next(more))
    if (opened := _HEREDOC.search(lines[-1])) is not None:
        while lines[-1] != opened[1]:
            lines.append(next(more))
    return "\n".join(lines)


def _run(session: Session, step: Step, names: dict[str, str]) -> Ran:
    command = step.command
    for printed, real in names.items():
        command = command.replace(printed, real)
    shown = session.run(command)
    text = "\n".join(line.rstrip() for line in shown.text.splitlines())
    for printed, real in names.items():
        text = text.replace(real, printed)
    return Ran(step, text, shown.code, shown.seconds)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Run the tour and say or write what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the README anew")
    asked = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="petapter-tour-") as folder:
        ran = run_tour(readme, Path(folder))
    for one in ran:
        if not one.is_alike or one.has_failed:
            print(one.difference)
    print("\nthe slowest:")
    for one in sorted(ran, key=lambda one: -one.seconds)[:_SLOWEST]:
        print(f"{one.seconds:5.1f} s  {one.step.command.splitlines()[0]}")
    if asked.write:
        README.write_text(rewritten(readme, ran), encoding="utf-8")
    sys.exit(any(one.has_failed or not (asked.write or one.is_alike) for one in ran))


if __name__ == "__main__":
    main()
