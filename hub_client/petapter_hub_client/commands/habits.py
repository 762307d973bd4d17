"""The two options that every command has, `--quiet` and `--offline`, added to its signature from the outside."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from petapter_hub_client.offline import go_offline
from petapter_hub_client.output import be_quiet

QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes; of a result only what names it.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Ask no remote; what was pulled before still works.")]

_ADDED = {"quiet": QuietOption, "offline": OfflineOption}


def habitual(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--quiet` and `--offline`, which take effect before it runs."""

    @wraps(command)
    def run(*, quiet: bool, offline: bool, **options: Any) -> None:  # noqa: ANN401 (whatever the command takes)
        take_effect(quiet=quiet, offline=offline)
        command(**options)

    signature = inspect.signature(command)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _ADDED.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]  # what inspect.signature reads first
    run.__annotations__ = {**command.__annotations__, **_ADDED}
    return run


def take_effect(*, quiet: bool, offline: bool) -> None:
    """Follow the two options; what one place switched on, another leaves on."""
    if quiet:
        be_quiet(quiet)
    if offline:
        go_offline()


def make_habitual(app: typer.Typer) -> None:
    """Do so for every command of a group."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = habitual(command.callback)
