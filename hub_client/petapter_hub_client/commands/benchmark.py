# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter benchmark`: run a grid of methods on the same samples, resumably, and report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, note, progress, say_facts, say_json, warn
from petapter_schemas.errors import PetapterError

if TYPE_CHECKING:
    from petapter_hub_client.benchmark_runs import Outcome

_SHOWN = 5


def benchmark(  # noqa: PLR0913 (a command's options)
    grid: Annotated[
        Path, typer.Argument(metavar="GRID.yaml", help="Data sets, methods, sizes; see petapter/README.md.")
    ],
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Results and report; a run that was stopped goes on there.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="What ${DATA} in the grid stands for.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=VALUE,…", help="Run a part: dataset=, backbone=, method=, n=, sample=, seed=."),
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Each run in a process of its own, which measures its memory.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing, write the report again.")] = False,
    export_samples: Annotated[
        Path | None, typer.Option("--export-samples", metavar="DIR", help="Write the rows as CSV and run nothing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare methods on the same samples: accuracy with intervals, seconds, bytes, memory."""
    prepare_torch("benchmark")
    from petapter_hub_client.benchmark_runs import BenchmarkRun, read_only

    hush_huggingface()
    run = BenchmarkRun(grid, out, data, read_only(only or []))
    if export_samples is not None:
        files = run.export(export_samples)
        _say({"directory": str(export_samples), "files": len(files)}, as_json=as_json)
        return
    if not report_only:
        with progress("benchmark") as on_step:
            run.run(on_step, note, isolate=isolate)
    outcome = run.report()
    _say(outcome.facts(), as_json=as_json)
    _complain(outcome)


def _say(facts: dict[str, str | int], *, as_json: bool) -> None:
    if as_json:
        say_json(facts)
    else:
        say_facts(list(facts.items()))


def _complain(outcome: "Outcome") -> None:
    """Failed runs are warned of and make the command fail, after everything else is written."""
    if not outcome.errors:
        return
    for error in outcome.errors[:_SHOWN]:
        warn(error)
    raise PetapterError(
        f"{len(outcome.errors)} of {outcome.planned} runs failed; the report names them: run again to try them again"
    )
