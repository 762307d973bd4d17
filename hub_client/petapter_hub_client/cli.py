# ruff: noqa: PLC0415 (what a command needs is imported when it runs, so that --help stays fast)
"""`petapter`: the commands under one name, and the one place that turns errors into a line and an exit code.

A bug keeps its traceback.
"""

import errno
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from petapter_hub_client.commands import cache, channel, evalset, export, importing, keys, remote, stack
from petapter_hub_client.commands.adapt import adapt
from petapter_hub_client.commands.audit import audit
from petapter_hub_client.commands.bash_words import whole_references
from petapter_hub_client.commands.benchmark import benchmark
from petapter_hub_client.commands.diff import diff
from petapter_hub_client.commands.drift import drift
from petapter_hub_client.commands.evalset_results import hand_in, results
from petapter_hub_client.commands.evalset_results import verify as verify_on_set
from petapter_hub_client.commands.evaluate import evaluate
from petapter_hub_client.commands.habits import OfflineOption, QuietOption, habitual, make_habitual, take_effect
from petapter_hub_client.commands.info import info
from petapter_hub_client.commands.login import login, logout, whoami
from petapter_hub_client.commands.merge import merge
from petapter_hub_client.commands.predict import predict
from petapter_hub_client.commands.pull import pull
from petapter_hub_client.commands.push import push
from petapter_hub_client.commands.quick_group import QuickGroup
from petapter_hub_client.commands.reproduce import reproduce
from petapter_hub_client.commands.search import search
from petapter_hub_client.commands.serve import serve
from petapter_hub_client.commands.sign import sign
from petapter_hub_client.commands.suggest import suggest
from petapter_hub_client.commands.suggest_examples import suggest_examples
from petapter_hub_client.commands.train import train
from petapter_hub_client.commands.tune import tune
from petapter_hub_client.commands.verify import verify
from petapter_hub_client.commands.yank import unyank, yank
from petapter_hub_client.exit_codes import ExitCode, exit_code
from petapter_hub_client.output import be_quiet, note, say_error, say_interrupted, warn
from petapter_hub_client.suggestions import did_you_mean
from petapter_schemas.errors import PetapterError

app = typer.Typer(
    name="petapter",
    cls=QuickGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
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


for _name, _command in (
    ("train", train), ("tune", tune), ("evaluate", evaluate), ("predict", predict), ("drift", drift), ("merge", merge),
    ("serve", serve), ("adapt", adapt), ("benchmark", benchmark), ("push", push), ("pull", pull), ("search", search),
    ("suggest", suggest), ("suggest-examples", suggest_examples), ("info", info), ("diff", diff),
    ("reproduce", reproduce), ("list", cache.list_),
    ("remove", cache.remove), ("sign", sign), ("verify", verify),
    ("audit", audit), ("login", login), ("logout", logout), ("whoami", whoami),
    ("yank", yank), ("unyank", unyank),
    ("demo", demo),
):  # fmt: skip
    app.command(_name)(habitual(_command))
evalset.app.command("verify")(verify_on_set)  # these may run modules, which their group does not (pyproject.toml)
evalset.app.command("hand-in")(hand_in)
evalset.app.command("results")(results)
for _name, _group in (
    ("channel", channel.app), ("evalset", evalset.app), ("export", export.app), ("import", importing.app),
    ("keys", keys.app), ("remote", remote.app), ("stack", stack.app),
):  # fmt: skip
    make_habitual(_group)
    app.add_typer(_group, name=_name, cls=QuickGroup)

_USAGE_ERROR: type[typer.BadParameter] = typer.BadParameter.__mro__[1]  # UsageError, which typer does not export
_NOT_ONE_OF = re.compile(r"'([^']+)' is not one of (.+)$")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends in SystemExit, except for a bug.

    Args:
        arguments: Without the program's name; those of this process by default.
    """
    _show_warnings()
    be_quiet(quiet=False)
    try:
        with whole_references():
            code = app(None if arguments is None else list(arguments), prog_name="petapter", standalone_mode=False)
    except _USAGE_ERROR as error:
        error.message = error.message.replace("Value error, ", "", 1) + _nearest_value(
            error.message
        )  # pydantic's words
        error.show()
        sys.exit(ExitCode.USAGE)
    except typer.Abort:
        note("nothing was done")
        sys.exit(ExitCode.REFUSED)
    except PetapterError as error:
        _refuse(str(error), exit_code(error))
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:  # not about a file or a disk of the user's
            raise
        _refuse(f"{error.filename or 'the disk'}: {error.strerror}", ExitCode.REFUSED)
    except KeyboardInterrupt:  # outside what typer guards
        code = ExitCode.INTERRUPTED
    if code == ExitCode.INTERRUPTED:
        say_interrupted()
    sys.exit(code or ExitCode.DONE)


def _nearest_value(message: str) -> str:
    """Which value of an option was meant, where typer says that it is not one of those it takes."""
    if (found := _NOT_ONE_OF.search(message)) is None:
        return ""
    known = [value.strip("'\" ") for value in found[2].rstrip(". ").split(",")]
    return did_you_mean(found[1], known).replace(";", "", 1).replace("did", "Did", 1)


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
    quiet: QuietOption = False,
    offline: OfflineOption = False,
) -> None:
    take_effect(quiet=quiet, offline=offline)


def _refuse(message: str, code: ExitCode) -> None:
    say_error(message)
    sys.exit(code)


class _Warnings(logging.Handler):
    """Shows what the libraries log as a warning, each once: what reads the same rows again says the same again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line to standard error."""
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            warn(message)


def _show_warnings() -> None:
    for name in ("petapter", "petapter_hub_client"):
        logger = logging.getLogger(name)
        logger.handlers = [_Warnings()]
        logger.propagate = False


if __name__ == "__main__":
    main()
