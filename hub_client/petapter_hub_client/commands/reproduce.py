# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter reproduce`: train a module again from its manifest, and tell whether the same comes out."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.completion import complete_module
from petapter_hub_client.commands.options import BackboneOption, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.output import (
    hush_huggingface,
    is_quiet,
    progress,
    say,
    say_facts,
    say_json,
    say_table,
)

if TYPE_CHECKING:
    from petapter_hub_client.reproducing import Reproduction


def reproduce(  # noqa: PLR0913 (a command's options)
    module: Annotated[
        str, typer.Argument(metavar="MODULE", help="A module directory or reference.", autocompletion=complete_module)
    ],
    *,
    data: Annotated[Path, typer.Option("--data", metavar="TRAIN.csv", help="The very rows that it was trained on.")],
    test: Annotated[
        Path | None, typer.Option("--test", metavar="TEST.csv", help="Labelled rows to measure both on.")
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option("--unlabelled", metavar="TEXTS.csv", help="Texts without labels that it was trained with."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="How far a log-probability of a probe text may be. Default: the module's."),
    ] = None,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a module again from its manifest; exit code 10 if what comes out is outside the tolerance."""
    prepare_torch("reproduce")
    from petapter_hub_client.reproducing import ReproduceOptions
    from petapter_hub_client.reproducing import reproduce as train_again

    hush_huggingface()
    options = ReproduceOptions(test, unlabelled, tolerance, backbone, device)
    with progress("training again") as on_step:
        found = train_again(module, data, options=options, on_step=on_step)
    if as_json:
        say_json(_as_json(found))
    elif is_quiet():
        say("within" if found.is_within else "outside")
    else:
        _show(found)
    if not found.is_within:
        raise typer.Exit(ExitCode.NOT_REPRODUCED)


def _as_json(found: "Reproduction") -> dict[str, object]:
    figures = [
        {**asdict(each), "interval": each.interval.model_dump(mode="json"), "is_within": each.is_within}
        for each in found.figures
    ]
    return {
        **asdict(found),
        "directory": str(found.directory),
        "figures": figures,
        "is_within": found.is_within,
    }


def _show(found: "Reproduction") -> None:
    weights = {
        name: "other shapes" if change is None else f"{change:.3g}" for name, change in found.weight_changes.items()
    }
    verdict = "within" if found.golden_difference <= found.tolerance else "outside"
    say_facts(
        (
            ("module", found.module),
            ("trained on", found.then),
            ("again on", found.now),
            ("golden", f"{found.golden_difference:.2g} apart at most, {verdict} the tolerance of {found.tolerance:g}"),
            ("adapter", f"{weights['adapter']} apart (relative norm of the difference)"),
            ("head", f"{weights['head']} apart"),
        )
    )
    if found.figures:
        say("")
        rows = [
            (
                each.metric,
                f"{each.published:.4f}",
                f"{each.interval.low:.4f} to {each.interval.high:.4f}",
                f"{each.again:.4f}",
                "within" if each.is_within else "outside",
            )
            for each in found.figures
        ]
        say_table(("metric", "published", "interval", "again", ""), rows)
    say("")
    if found.is_within:
        say(f"{found.module} is reproduced, within its tolerance")
    else:
        say(f"{found.module} is not reproduced: what came out is outside the tolerance")
