# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter train`: labelled texts become a module directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.figures import show_figures
from petapter_hub_client.commands.options import (
    DataArgument,
    DeviceOption,
    HeldOutNameOption,
    HeldOutOption,
    JsonOption,
    LabelsOption,
    ModuleDescriptionOption,
    ModuleLicenseOption,
    ModuleNameOption,
    ModuleOutOption,
    ModuleVersionOption,
    NewBackboneOption,
    TaskOption,
    prepare_torch,
)
from petapter_hub_client.output import hush_huggingface, progress, say, say_facts, say_json, size_text

if TYPE_CHECKING:
    from petapter_schemas.manifest import Manifest


def train(  # noqa: PLR0913 (a command's options)
    data: DataArgument,
    *,
    out: ModuleOutOption,
    task: TaskOption = None,
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="'{text} It is about {mask}.'; may be repeated.")
    ] = None,
    label: LabelsOption = None,
    backbone: NewBackboneOption = "minilm",
    device: DeviceOption = None,
    name: ModuleNameOption = None,
    version: ModuleVersionOption = "0.1.0",
    description: ModuleDescriptionOption = "",
    language: Annotated[list[str] | None, typer.Option(help="A language code such as en; may be repeated.")] = None,
    license_: ModuleLicenseOption = None,
    test: HeldOutOption = None,
    test_name: HeldOutNameOption = None,
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
    paper: Annotated[
        list[str] | None,
        typer.Option(
            "--paper",
            metavar="KEY=VALUE",
            help="Preset paper: pad, verbalizer_space, truncate_verbalizer, text_apart or ia3_place; repeatable.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of initial weights, order of rows and dropout. Default: 0.")] = None,
    adapter: Annotated[
        Literal["lora", "ia3", "bottleneck", "bitfit", "none"] | None,
        typer.Option(
            help="What trains inside the backbone; preset strong has no bottleneck, paper only the first three."
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=0, help="Preset plain: rank of LoRA; 0 trains the head alone. Default: 8.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="3,4,5|upper", help="Preset plain: layers with an adapter, from 0. Default: all."),
    ] = None,
    placement: Annotated[
        Literal["pfeiffer", "houlsby"] | None,
        typer.Option(help="Preset plain: bottlenecks after the feed-forward block, or after attention too."),
    ] = None,
    biases: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Preset plain: linear layers whose biases BitFit trains. Default: query and feed-forward.",
        ),
    ] = None,
    head: Annotated[
        Literal["mlm", "random"] | None,
        typer.Option(
            help="Preset plain: where the head starts. Default: mlm; random where the backbone has no such head."
        ),
    ] = None,
    head_trains: Annotated[
        Literal["rows", "all", "none"] | None,
        typer.Option(help="Preset plain: what of a head from the masked LM trains. Default: rows."),
    ] = None,
    head_activation: Annotated[
        Literal["gelu", "relu", "tanh", "silu", "linear"] | None,
        typer.Option(help="Preset plain: of a random head. Default: gelu."),
    ] = None,
    head_norm: Annotated[
        Literal["layer-norm", "none"] | None,
        typer.Option(help="Preset plain: of a random head. Default: layer-norm."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps. Default: by the number of rows.")] = None,
    calibrate: Annotated[
        int | None,
        typer.Option(
            metavar="FOLDS", min=2, help="Presets plain and paper: fit the probabilities, by as many more runs."
        ),
    ] = None,
    abstain_error: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Give no label where unsure, so that at most this share gets a wrong one."),
    ] = None,
    keep: Annotated[
        Literal["auto", "head", "tail", "head+tail", "windows"] | None,
        typer.Option(help="What of a text that is too long; auto (preset strong) chooses. Default: as the task says."),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from", metavar="MODULE", help="Preset plain: another module, whose adapter to begin with."
        ),
    ] = None,
    no_profile: Annotated[
        bool, typer.Option("--no-profile", help="Leave out the counts of the texts that drift compares with.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a module on labelled texts."""
    prepare_torch("train")
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.run_settings import RunSettings
    from petapter_hub_client.stated_facts import StatedFacts
    from petapter_hub_client.training_runs import HeldOut, TaskSource, TrainingRun

    hush_huggingface()
    check_new_directory(out)
    run = TrainingRun(
        data=data,
        task=TaskSource(task, pattern or [], label or []),
        backbone=backbone,
        settings=RunSettings(
            preset=preset,
            seed=seed,
            adapter=adapter,
            rank=rank,
            layers=layers,
            placement=placement,
            biases=biases,
            head=head,
            head_activation=head_activation,
            head_norm=head_norm,
            head_trains=head_trains,
            steps=steps,
            repetition=repetition,
            paper=tuple(paper or ()),
            calibrate=calibrate,
            abstain_error=abstain_error,
            keep=keep,
        ),
        facts=StatedFacts.check(
            name=name or out.resolve().name,
            version=version,
            description=description,
            license=license_,
            languages=tuple(language or ()),
        ),
        held_out=None if test is None else HeldOut(test, test_name or test.stem),
        unlabelled=unlabelled,
        with_profile=not no_profile,
        init_from=init_from,
        device=device,
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
            ("steps", f"{training.steps}{_folds_text(manifest)} in {training.seconds:.0f} s"),
            *_kept(manifest),
            ("parameters", f"{manifest.adapter.parameters + manifest.head.parameters:,}"),
            ("size", size_text(sum(file.stat().st_size for file in out.iterdir()))),
            *_silence(manifest),
        )
    )
    if manifest.evaluation:
        say("")
        show_figures(manifest.evaluation)


def _folds_text(manifest: "Manifest") -> str:
    """The further runs that the seconds include."""
    folds = manifest.training.hyperparameters.get("calibrate_folds")
    return "" if folds is None else f", and those of {folds} folds,"


def _kept(manifest: "Manifest") -> list[tuple[str, str]]:
    """What rows that were left out say of the ways to keep long texts."""
    facts, start = manifest.training.hyperparameters, "left_out_loss_"
    if "kept" not in facts:
        return []
    losses = ", ".join(f"{key.removeprefix(start)} {facts[key]:.3f}" for key in facts if key.startswith(start))
    return [("long texts", f"{facts['kept']} (left-out losses: {losses})" if losses else "none is too long")]


def _silence(manifest: "Manifest") -> list[tuple[str, str]]:
    """When the module gives no label."""
    found = manifest.calibration
    if found is None or found.abstain_below is None:
        return []
    rate = (
        "" if found.abstain_error_rate is None else f", for {100 * found.abstain_error_rate:g} % wrong labels at most"
    )
    return [("abstains", f"below a probability of {found.abstain_below:.3f}{rate}")]
