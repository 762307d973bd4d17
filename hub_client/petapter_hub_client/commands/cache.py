# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter list` and `remove`: the modules that were pulled to this machine."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_reference
from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.output import is_quiet, note, report, say, say_json, say_table, size_text
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter_hub_client.cached_modules import CachedModule

ReferencesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REFERENCE", help="Cached modules; without a revision, all of its versions.",
        autocompletion=complete_reference,
    ),
]  # fmt: skip

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def list_(*, as_json: JsonOption = False) -> None:
    """List the modules in the cache, the last used first."""
    from petapter_hub_client.cached_modules import list_cached

    modules = list_cached()
    if as_json:
        say_json([_json(module) for module in modules])
    elif is_quiet():
        for module in modules:
            say(module.reference)
    elif modules:
        say_table(("reference", "version", "size", "last used", "backbone", "verified"), list(map(_row, modules)))
        say(f"{_count(modules)}, {size_text(sum(module.size_bytes for module in modules))}")
    else:
        note("the cache is empty: 'petapter pull' fetches a module")


def remove(
    reference: ReferencesArgument = None,
    *,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Those last used longer ago: 12h, 30d, 8w.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All modules, unfinished pulls and the quarantine.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove modules from the cache; remotes still have them."""
    from petapter_hub_client.cached_modules import remove_cached, remove_leftovers

    modules = _chosen(reference or [], older_than, every=every)
    size = size_text(sum(module.size_bytes for module in modules))
    if modules and not yes:
        _confirm(modules, size)
    remove_cached(modules)
    leftover_bytes = remove_leftovers() if every else 0
    if as_json:
        say_json({"removed": [_json(module) for module in modules], "leftover_bytes": leftover_bytes})
        return
    report(f"removed {_count(modules)}, {size}" if modules else "no cached module is meant: nothing was removed")
    if leftover_bytes:
        report(f"removed {size_text(leftover_bytes)} of unfinished pulls and broken modules")


def _chosen(references: Sequence[str], age: str | None, *, every: bool) -> "list[CachedModule]":
    from petapter_hub_client.cached_modules import find_cached, list_cached, older_than

    if (bool(references), age is not None, every).count(True) != 1:
        raise InputError("say what to remove: references, or --older-than AGE, or --all")
    if every:
        return list_cached()
    if age is not None:
        return older_than(age)
    found = {module.directory: module for reference in references for module in find_cached(reference)}
    return list(found.values())


def _confirm(modules: "Sequence[CachedModule]", size: str) -> None:
    if not sys.stdin.isatty():
        raise InputError(f"{_count(modules)} ({size}) would be removed: give --yes where nobody can be asked")
    for module in modules:
        note(f"  {module.reference}  {size_text(module.size_bytes)}, used {_ago(module.used)}")
    typer.confirm(f"Remove {_count(modules)}, {size}?", abort=True, err=True)


def _count(modules: "Sequence[CachedModule]") -> str:
    return "1 module" if len(modules) == 1 else f"{len(modules)} modules"


def _row(module: "CachedModule") -> tuple[object, ...]:
    verified = _ago(module.checked) if module.state == "checked" and module.checked else module.state
    version, backbone = module.version or "?", module.backbone or "?"
    return (module.reference, version, size_text(module.size_bytes), _ago(module.used), backbone, verified)


def _ago(time: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    if seconds < _MINUTE_S:
        return "just now"
    for unit_s, unit in ((_DAY_S, "days"), (_HOUR_S, "hours"), (_MINUTE_S, "minutes")):
        if seconds >= unit_s:
            count = seconds // unit_s
            return f"{count} {unit if count > 1 else unit[:-1]} ago"
    raise AssertionError(seconds)  # a minute is the smallest unit


def _json(module: "CachedModule") -> dict[str, object]:
    return {
        **asdict(module),
        "used": module.used.isoformat(),
        "checked": module.checked.isoformat() if module.checked else None,
        "directory": str(module.directory),
    }
