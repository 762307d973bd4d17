# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter push`: a module directory becomes a version on a remote."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import hush_huggingface, is_quiet, note, say, say_facts, say_json, size_text

if TYPE_CHECKING:
    from petapter_hub_client.publishing import PlannedFile


def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A module directory.")],
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name", autocompletion=complete_reference)
    ],
    *,
    version: Annotated[str | None, typer.Option(metavar="X.Y.Z", help="Give DIR this version first.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a module. Nothing happens when the remote already holds exactly this version."""
    from petapter_hub_client.publishing import PushOptions
    from petapter_hub_client.publishing import push as publish

    hush_huggingface()
    options = PushOptions(version=version, private=private or None, message=message)
    pushed = publish(directory, reference, options=options, on_plan=_show_plan)
    if as_json:
        say_json(asdict(pushed))
        return
    if is_quiet():
        say(pushed.reference)
        return
    if pushed.was_there:
        say(f"{pushed.reference} is already there, byte for byte: nothing to do")
    say_facts(
        (
            ("reference", pushed.reference),
            ("version", pushed.version),
            ("commit", pushed.commit),
            ("digest", f"sha256:{pushed.digest}"),
            ("size", size_text(pushed.size_bytes)),
        )
    )


def _show_plan(files: Sequence["PlannedFile"]) -> None:
    note("uploading:")
    width = max(len(file.path) for file in files)
    for file in files:
        note(f"  {file.path:<{width}}  {size_text(file.size_bytes)}")
