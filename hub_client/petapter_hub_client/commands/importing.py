# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter import`: what other few-shot libraries left behind, as a start."""

from pathlib import Path
from typing import Annotated

import typer

from petapter_hub_client.commands.options import DataArgument, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, is_quiet, progress, report, say, say_json, warn

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Begin with what other few-shot libraries left behind.",
)

FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="A folder for the files that are made.")]


@app.command()
def config(
    source: Annotated[Path, typer.Argument(metavar="CONFIG.yml", help="A configuration of the PETapter paper's code.")],
    *,
    out: FolderOption,
    rows: Annotated[
        Path | None, typer.Option("--rows", metavar="TRAIN.csv", help="The paper's rows, without a header.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a task of each pattern of a paper-style YAML, and say how to train with it."""
    from petapter_hub_client.importing.paper_config import import_paper_config

    made = import_paper_config(source, out, rows=rows)
    if as_json:
        tasks = {pattern: str(path) for pattern, path in made.tasks.items()}
        shown = str(made.rows) if made.rows else None
        say_json({"tasks": tasks, "rows": shown, "commands": made.commands, "runs": made.runs, "notes": made.notes})
        return
    for path in (*made.tasks.values(), *([made.rows] if made.rows else [])):
        report(f"wrote {path}")
    for note in made.notes:
        warn(note)
    if made.runs > 1:
        report(f"the paper trains each {made.runs} times: --run 1 to --run {made.runs}")
    for line in made.commands:
        say(line)


@app.command()
def setfit(
    source: Annotated[
        Path, typer.Argument(metavar="ROWS|MODEL", help="Rows with text and label, or a model's directory.")
    ],
    *,
    out: FolderOption,
    as_json: JsonOption = False,
) -> None:
    """Make a task and rows of a SetFit-style labelled set, or a task of a model's labels."""
    from petapter_hub_client.importing.label_sets import import_label_set

    made = import_label_set(source, out)
    if as_json:
        say_json({"task": str(made.task), "rows": str(made.rows), "labels": made.labels, "count": made.count})
    elif is_quiet():
        say(str(made.task))
    else:
        report(f"wrote {made.task} with the labels {', '.join(made.labels)}: look at words and pattern")
        report(f"wrote {made.rows} with {made.count} rows{'' if made.count else ': fill it in'}")
        report(f"then: petapter train {made.rows} --task {made.task} --out MODULE")


@app.command()
def peft(  # noqa: PLR0913 (a command's options)
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="A peft LoRA directory.")],
    data: DataArgument,
    *,
    task: Annotated[Path, typer.Option("--task", metavar="FILE", help="Labels and patterns as YAML.")],
    backbone: Annotated[str, typer.Option(help="The one that the adapter was trained on.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The module directory to make.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps. Default: by the number of rows.")] = None,
    seed: Annotated[int, typer.Option(help="Of head, order of rows and dropout.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a module that begins with the weights of a LoRA classification adapter; its head is left out."""
    prepare_torch("import peft")
    from petapter.module import ModuleInfo, save_module
    from petapter.task import read_examples, read_task
    from petapter.training import TrainingOptions
    from petapter.training.warm_start import read_lora_start, train_from
    from petapter_hub_client.backbones import resolve_backbone
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.local_runs import load_backbone

    hush_huggingface()
    check_new_directory(out)
    read = read_task(task)
    examples = read_examples(data, read)
    with progress("training") as on_step:
        loaded = load_backbone(resolve_backbone(backbone), device=device)
        start = read_lora_start(adapter, loaded)

        def told(step: int, total: int, loss: float) -> None:
            on_step(step, total, f"loss {loss:.3f}")

        trained = train_from(start, read, examples, loaded, TrainingOptions(seed=seed, steps=steps), on_step=told)
        manifest = save_module(trained, out, ModuleInfo(out.resolve().name))
    if as_json:
        say_json({"directory": str(out), "name": manifest.name, "version": manifest.version, "start": start.sha256})
    elif is_quiet():
        say(str(out))
    else:
        report(f"wrote {out}: {manifest.name} {manifest.version}, begun with LoRA of rank {start.choice.rank}")
