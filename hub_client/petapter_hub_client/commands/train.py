# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter train`: labelled texts become a module directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.figures import show_figures
from petapter_hub_client.commands.options import DataArgument, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, progress, say, say_facts, say_json, size_text

if TYPE_CHECKING:
    from petapter_schemas.manifest import Manifest


def train(  # noqa: PLR0913 (a command's options)
    data: DataArgument,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The module directory to make.")],
    task: Annotated[Path | None, typer.Option("--task", metavar="FILE", help="Labels and patterns as YAML.")] = None,
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="'{text} It is about {mask}.'; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=word,word", help="A label and its words; repeat for each label."),
    ] = None,
    backbone: Annotated[str, typer.Option(help="A Hub id, a local directory, or 'minilm'.")] = "minilm",
    name: Annotated[str | None, typer.Option(help="The module's name. Default: the name of DIR.")] = None,
    version: Annotated[str, typer.Option(metavar="X.Y.Z", help="The module's version.")] = "0.1.0",
    description: Annotated[str, typer.Option(help="One or two sentences for the model card.")] = "",
    language: Annotated[list[str] | None, typer.Option(help="A language code such as en; may be repeated.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="An SPDX identifier such as Apache-2.0.")] = None,
    test: Annotated[
        Path | None, typer.Option("--test", metavar="HELD_OUT.csv", help="Labelled rows to measure on afterwards.")
    ] = None,
    test_name: Annotated[str | None, typer.Option(help="Name of the test set. Default: the file's name.")] = None,
    unlabelled: Annotated[
        Path | None, typer.Option("--unlabelled", metavar="TEXTS.csv", help="Preset strong: texts without labels.")
    ] = None,
    preset: Annotated[
        Literal["strong", "plain", "paper"],
        typer.Option(help="petapter's own; one adapter and the head together; or as in the PETapter paper."),
    ] = "strong",
    repetition: Annotated[
        int | None, typer.Option("--run", min=1, help="Preset paper: which run; the seed is 1895 times it. Default: 1.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights, order of rows and dropout. Default: 0.")] = None,
    rank: Annotated[
        int | None, typer.Option(min=0, help="Preset plain: rank of LoRA; 0 trains the head alone. Default: 8.")
    ] = None,
    head: Annotated[
        Literal["mlm", "random"] | None, typer.Option(help="Preset plain: where the head starts. Default: mlm.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps. Default: by the number of rows.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a module on labelled texts."""
    prepare_torch("train")
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.stated_facts import StatedFacts
    from petapter_hub_client.training_runs import HeldOut, RunSettings, TaskSource, TrainingRun

    hush_huggingface()
    check_new_directory(out)
    run = TrainingRun(
        data=data,
        task=TaskSource(task, pattern or [], label or []),
        backbone=backbone,
        settings=RunSettings(preset, seed, rank, head, steps, repetition),
        facts=StatedFacts.check(
            name=name or out.resolve().name,
            version=version,
            description=description,
            license=license_,
            languages=tuple(language or ()),
        ),
        held_out=None if test is None else HeldOut(test, test_name or test.stem),
        unlabelled=unlabelled,
    )
    with progress("training") as on_step:
        manifest = run.run(out, on_step)
    _report(manifest, out, as_json=as_json)


def _report(manifest: "Manifest", out: Path, *, as_json: bool) -> None:
    if as_json:
        say_json({"directory": str(out), "manifest": manifest.model_dump(mode="json")})
        return
    training = manifest.training
    say_facts(
        (
            ("module", f"{manifest.name} {manifest.version}"),
            ("directory", out),
            ("rows", sum(training.examples_per_class)),
            ("steps", f"{training.steps} in {training.seconds:.0f} s"),
            ("parameters", f"{manifest.adapter.parameters + manifest.head.parameters:,}"),
            ("size", size_text(sum(file.stat().st_size for file in out.iterdir()))),
        )
    )
    if manifest.evaluation:
        say("")
        show_figures(manifest.evaluation)
