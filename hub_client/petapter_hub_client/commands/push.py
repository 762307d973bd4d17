# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter push`: a module directory becomes a version on a remote."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import (
    byte_progress,
    hush_huggingface,
    is_quiet,
    note,
    say,
    say_facts,
    say_json,
    say_table,
    size_text,
)

if TYPE_CHECKING:
    from petapter_hub_client.publishing import PushedModule
    from petapter_hub_client.push_plans import PushPlan

_NEXT = {
    "commit": "one commit, then the tag",
    "tag": "the tag alone: an earlier push got as far as its commit",
    "nothing": "nothing: it is there already",
}


def push(  # noqa: PLR0913 (a command's options)
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A module directory; it is never changed.")],
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="[remote:]namespace/name", autocompletion=complete_reference)
    ],
    *,
    version: Annotated[
        str | None, typer.Option(metavar="X.Y.Z", help="Publish it as this version. Default: the one it has.")
    ] = None,
    bump: Annotated[
        Literal["major", "minor", "patch"] | None,
        typer.Option(help="Publish it as the next version after the remote's newest."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show everything; upload nothing.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a module. Nothing happens when the remote already holds exactly this module."""
    from petapter_hub_client.publishing import plan_push
    from petapter_hub_client.publishing import push as publish
    from petapter_hub_client.push_plans import PushOptions

    hush_huggingface()
    options = PushOptions(version=version, bump=bump, private=private or None, message=message)
    if dry_run:
        _report_plan(plan_push(directory, reference, options=options), as_json=as_json)
        return
    with byte_progress("pushing") as on_progress:
        pushed = publish(directory, reference, options=options, on_plan=_note_plan, on_progress=on_progress)
    _report(pushed, as_json=as_json)


def _report(pushed: "PushedModule", *, as_json: bool) -> None:
    if as_json:
        say_json(asdict(pushed))
        return
    if is_quiet():
        say(pushed.reference)
        return
    if pushed.was_there:
        say(f"{pushed.reference} already holds this module: nothing to do")
    say_facts(
        (
            ("reference", pushed.reference),
            ("version", pushed.version),
            ("commit", pushed.commit),
            ("digest", f"sha256:{pushed.digest}"),
            ("size", size_text(pushed.size_bytes)),
        )
    )


def _report_plan(plan: "PushPlan", *, as_json: bool) -> None:
    if as_json:
        say_json({**asdict(plan), "sent_bytes": plan.sent_bytes})
        return
    if is_quiet():
        say(plan.reference)
        return
    _note_hints(plan)
    say_table(
        ("file", "size", "on the remote"),
        [
            *((file.path, size_text(file.size_bytes), file.state) for file in plan.files),
            *((path, "", "will be deleted") for path in plan.deleted),
        ],
    )
    say("")
    say_facts(
        (
            ("reference", plan.reference + (", whose repository will be made" if plan.makes_repository else "")),
            ("digest", f"sha256:{plan.digest}"),
            ("to send", f"{size_text(plan.sent_bytes)} at most"),
            ("next", _NEXT[plan.step]),
        )
    )
    say("nothing was uploaded (--dry-run)")


def _note_plan(plan: "PushPlan") -> None:
    if plan.step == "nothing":
        return
    _note_hints(plan)
    note(f"{plan.reference}: {size_text(plan.sent_bytes)} to send, {_NEXT[plan.step]}")
    width = max(len(file.path) for file in plan.files)
    for file in plan.files:
        note(f"  {file.path:<{width}}  {size_text(file.size_bytes):>8}  {file.state}")
    for path in plan.deleted:
        note(f"  {path:<{width}}  will be deleted")


def _note_hints(plan: "PushPlan") -> None:
    if plan.golden_made:
        note("golden outputs: there were none, so they were computed here for what is sent")
    for hint in plan.hints:
        note(f"note: {hint}")
