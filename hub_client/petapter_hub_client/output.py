# ruff: noqa: PLC0415 (rich is imported when something is shown, so that --help stays fast)
"""Writes for people and for programs: results to standard output, everything else to standard error."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

_KILO = 1000
_PIPED_WIDTH = 160

_QUIET = ContextVar("quiet", default=False)
_drawn_on: list["Console"] = []
"""Consoles with something that moves, the latest last: what is written past them lands in the midst of it."""

OnStep = Callable[[int, int, str], None]
"""Called with what is done, what is to do in all, and a few words."""

OnBytes = Callable[[str, int, int], None]
"""Called with a file's path, how many bytes are here, and how many there are in all."""


def plain(text: object) -> str:
    """A text without control characters: names and cards come from strangers, and terminals obey escape sequences."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def be_quiet(quiet: bool) -> None:  # noqa: FBT001 (it is the state itself)
    """Choose whether notes and progress are shown from here on."""
    _QUIET.set(quiet)


def is_quiet() -> bool:
    """Whether only results, warnings and errors are wanted."""
    return _QUIET.get()


def say(text: str) -> None:
    """Write a line to standard output."""
    typer.echo(plain(text))


def report(text: str) -> None:
    """Write to standard output that something was done, unless that goes without saying."""
    if not is_quiet():
        say(text)


def note(text: str) -> None:
    """Write a line for people to standard error."""
    if not is_quiet():
        _say_to_people(plain(text), None)


def warn(text: str) -> None:
    """Write a warning to standard error."""
    _say_to_people(f"warning: {plain(text)}", "yellow")


def say_error(text: str) -> None:
    """Write the one line of an error to standard error."""
    _say_to_people(f"error: {' '.join(plain(text).split())}", "red")


def say_interrupted() -> None:
    """Write to standard error that Ctrl-C came through; asked for or not, it is the end of the output."""
    typer.echo("interrupted: run the same command again to go on", err=True)


def _say_to_people(text: str, colour: str | None) -> None:
    """NO_COLOR (no-color.org) takes the colour away; typer takes it away where standard error is no terminal."""
    if _drawn_on:  # typer finds its way past what rich puts in the place of standard error
        _drawn_on[-1].print(text, style=colour, markup=False, highlight=False, soft_wrap=True)
        return
    typer.secho(text, err=True, fg=None if os.environ.get("NO_COLOR") else colour)


@contextmanager
def above(console: "Console") -> Iterator[None]:
    """Write lines for people above what moves on a console while the block runs, where it is a terminal."""
    if not console.is_terminal:
        yield
        return
    _drawn_on.append(console)
    try:
        yield
    finally:
        _drawn_on.remove(console)


def say_json(value: object) -> None:
    """Write one JSON value to standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def say_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Write names and values in two columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        say(f"{name:<{width}}  {value}")


def say_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table to standard output; a cell that is a number is set to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        is_number = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(
            column,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=index == 0,  # names are there to be copied
        )
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    _console().print(table)


def size_text(size_bytes: int) -> str:
    """A size for people, in decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < _KILO:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILO
    return f"{size:.1f} GB"


@contextmanager
def progress(what: str) -> Iterator[OnStep]:
    """A progress bar on standard error while the block runs; silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    is_shown = not is_quiet() and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar, above(console):
        task = bar.add_task(what, total=None)

        def on_step(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=f"{what} {plain(words)}".strip())

        yield on_step


@contextmanager
def byte_progress(what: str) -> Iterator[OnBytes]:
    """Bytes, their rate and the time they will take, on a terminal's standard error or in a notebook; else silent."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )  # fmt: skip
    is_shown = not is_quiet() and (console.is_terminal or console.is_jupyter)
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar, above(console):
        task = bar.add_task(what, total=None, visible=False)

        def on_bytes(path: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"{what} {plain(path)}", visible=True)

        yield on_bytes


def hush_huggingface() -> None:
    """Keep huggingface_hub's own bars and log lines out of ours; for the command line, not for the Python API."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _console() -> "Console":
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)
