# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter audit`: whether what a stack.lock has fixed may still be used, by what the remotes say today."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import JsonOption
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.output import hush_huggingface, is_quiet, progress, say, say_json, say_table
from petapter_schemas.errors import RemoteUnreachableError

if TYPE_CHECKING:
    from petapter_hub_client.stacks.auditing import Audit, AuditedModule


def audit(
    lock: Annotated[Path, typer.Argument(metavar="STACK.lock", help="A lock, or the stack.yaml beside it.")] = Path(
        "stack.lock"
    ),
    *,
    as_json: JsonOption = False,
) -> None:
    """Ask the remotes about every module of a stack.lock; fetches no weights.

    Ends with code 9 if a module was yanked, disputed, changed or deleted, or lacks a signature that the policy of its
    remote asks for. A newer version alone does not.
    """
    from petapter_hub_client.stacks.auditing import audit as ask

    hush_huggingface()
    with progress("auditing") as on_step:
        found = ask(lock, on_module=lambda name: on_step(0, 1, name))
    if as_json:
        say_json(_json(found))
    elif is_quiet():
        for module in found.modules:
            if module.demands_action:
                say(module.name)
    else:
        _show(found)
    if found.demands_action:
        raise typer.Exit(ExitCode.DEMANDS_ACTION)
    if not found.is_complete:
        raise RemoteUnreachableError("not every remote could be asked, so the audit is not complete: try again later")


def _show(found: "Audit") -> None:
    rows = [
        (module.name, module.reference or "a directory", module.newest or "-", _state(module))
        for module in found.modules
    ]
    say_table(("alias", "locked", "newest", "state"), rows)
    for module in found.modules:
        for finding in module.findings:
            say(f"{module.name}: {finding.kind}: {finding.detail}")
    acting = sum(module.demands_action for module in found.modules)
    say(f"{acting} of {len(found.modules)} modules demand action" if acting else "no module demands action")


def _state(module: "AuditedModule") -> str:
    return ", ".join(dict.fromkeys(finding.kind for finding in module.findings)) or "fine"


def _json(found: "Audit") -> dict[str, object]:
    modules = [
        {
            **asdict(module),
            "demands_action": module.demands_action,
            "findings": [{**asdict(one), "demands_action": one.demands_action} for one in module.findings],
        }
        for module in found.modules
    ]
    return {
        "lock": str(found.lock),
        "demands_action": found.demands_action,
        "is_complete": found.is_complete,
        "modules": modules,
    }
