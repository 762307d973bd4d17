# ruff: noqa: PLC0415 (what a command needs is imported when it runs, so that --help stays fast)
"""`petapter`: the commands under one name, and the one place that turns errors into a line and an exit code.

A bug keeps its traceback.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from petapter_hub_client.commands import channel, remote, stack
from petapter_hub_client.commands.adapt import adapt
from petapter_hub_client.commands.benchmark import benchmark
from petapter_hub_client.commands.drift import drift
from petapter_hub_client.commands.evaluate import evaluate
from petapter_hub_client.commands.habits import habitual, make_habitual
from petapter_hub_client.commands.info import info
from petapter_hub_client.commands.login import login, logout, whoami
from petapter_hub_client.commands.merge import merge
from petapter_hub_client.commands.predict import predict
from petapter_hub_client.commands.pull import pull
from petapter_hub_client.commands.push import push
from petapter_hub_client.commands.search import search
from petapter_hub_client.commands.serve import serve
from petapter_hub_client.commands.train import train
from petapter_hub_client.commands.yank import unyank, yank
from petapter_hub_client.exit_codes import ExitCode, exit_code
from petapter_hub_client.output import be_quiet, note, say_error, warn
from petapter_schemas.errors import PetapterError

app = typer.Typer(
    name="petapter",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help would cost 90 ms of the start
    help="Train, share, find and run few-shot text classification modules on one frozen backbone.",
)


def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new directory for the demo's files.")] = Path(
        "petapter-demo"
    ),
) -> None:
    """Walk the whole path on this machine: train, push, search, pull, predict."""
    from petapter_hub_client.commands.options import prepare_torch
    from petapter_hub_client.demo.walk import run_demo

    prepare_torch("demo")
    run_demo(directory)


for _command in (
    train, evaluate, predict, drift, merge, serve, adapt, benchmark, push, pull, search, info, login, logout, whoami, yank,
    unyank, demo,
):  # fmt: skip
    app.command()(habitual(_command))
for _group, _name in ((channel.app, "channel"), (remote.app, "remote"), (stack.app, "stack")):
    make_habitual(_group)
    app.add_typer(_group, name=_name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends in SystemExit, except for a bug.

    Args:
        arguments: Without the program's name; those of this process by default.
    """
    _show_warnings()
    be_quiet(quiet=False)
    try:
        app(args=None if arguments is None else list(arguments), prog_name="petapter")
    except PetapterError as error:
        _refuse(str(error), exit_code(error))
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        _refuse(f"{error.filename}: {error.strerror}", ExitCode.REFUSED)
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:
            note("interrupted: run the same command again to go on")
        raise


def _show_version(asked: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if asked:
        from importlib.metadata import version as installed_version

        typer.echo(f"petapter {installed_version('petapter')}")
        raise typer.Exit


@app.callback()
def _program(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    pass


def _refuse(message: str, code: ExitCode) -> None:
    say_error(message)
    sys.exit(code)


class _Warnings(logging.Handler):
    """Shows what the libraries log as a warning."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line to standard error."""
        warn(record.getMessage())


def _show_warnings() -> None:
    for name in ("petapter", "petapter_hub_client"):
        logger = logging.getLogger(name)
        logger.handlers = [_Warnings(logging.WARNING)]
        logger.propagate = False


if __name__ == "__main__":
    main()
