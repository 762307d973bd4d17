# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter merge`: several modules become one, or answer as one, measured beside them before it is saved."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from petapter_hub_client.commands.options import BackboneOption, JsonOption, prepare_torch
from petapter_hub_client.output import hush_huggingface, progress, say, say_json, say_table, warn
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from petapter.merging import Comparison, Weighing
    from petapter_hub_client.merge_runs import MadeOne
    from petapter_schemas.manifest import EvaluationSpec

_SHOWN = ("accuracy", "macro_f1", "log_loss", "micro_f1", "subset_accuracy")


def merge(  # noqa: PLR0913 (a command's options)
    modules: Annotated[list[str], typer.Argument(metavar="MODULE MODULE…", help="Directories or references.")],
    *,
    rows: Annotated[
        Path,
        typer.Option("--rows", metavar="TEST.csv", help="Labelled rows that no member has seen: measures all on them."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The directory to make.")],
    method: Annotated[
        Literal["linear", "ties", "dare-linear", "dare-ties", "ensemble"],
        typer.Option(help="How weights are merged; or an ensemble, whose members answer together."),
    ] = "linear",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="W,W…",
            help="What each module counts, in their order; auto chooses on the rows of --tune. Default: all alike.",
        ),
    ] = "",
    density: Annotated[
        float | None, typer.Option(help="ties and dare: share of the changes of each module that stays. Default: 0.5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="dare: draws what is dropped. Default: 0.")] = None,
    tune: Annotated[
        Path | None,
        typer.Option(
            "--tune", metavar="MORE.csv", help="Other labelled rows, for probabilities, thresholds or weights."
        ),
    ] = None,
    set_name: Annotated[str | None, typer.Option(help="Name of the rows. Default: the file's name.")] = None,
    backbone: BackboneOption = None,
    name: Annotated[str | None, typer.Option(help="The name of what is made. Default: the name of DIR.")] = None,
    version: Annotated[str, typer.Option(metavar="X.Y.Z", help="Its version.")] = "0.1.0",
    description: Annotated[str, typer.Option(help="One or two sentences for the model card.")] = "",
    language: Annotated[
        list[str] | None, typer.Option(help="A language code; may be repeated. Default: the members'.")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="An SPDX identifier. Default: that of all members.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge modules of one backbone and label set, and show whether that pays."""
    prepare_torch("merge")
    from petapter_hub_client.fetching import check_new_directory
    from petapter_hub_client.merge_runs import Choices, MergeRun, Rows
    from petapter_hub_client.stated_facts import StatedFacts

    hush_huggingface()
    check_new_directory(out)
    run = MergeRun(
        modules,
        Choices(method, "auto" if weights == "auto" else _numbers(weights), density, seed),
        Rows(rows, set_name or rows.stem, tune),
        StatedFacts.check(
            name=name or out.resolve().name,
            version=version,
            description=description,
            license=license_,
            languages=tuple(language or ()),
        ),
        backbone,
    )
    with progress("merging") as on_step:
        made = run.run(out, on_step)
    _report(made, out, as_json=as_json)


def _numbers(text: str) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--weights {text!r} are no numbers: write them like 0.7,0.3, or auto") from error


def _report(made: "MadeOne", out: Path, *, as_json: bool) -> None:
    found = made.comparison
    if found.is_worse:
        warn(f"{found.merged} is worse than {found.best} on these rows ({_difference(found)}): use {found.best}")
    if as_json:
        say_json(
            {
                "directory": str(out),
                "figures": {
                    alias: [figure.model_dump(mode="json") for figure in figures]
                    for alias, figures in found.figures.items()
                },
                "best": found.best,
                "difference": {
                    "metric": found.metric,
                    "mean": found.difference.mean,
                    "interval": found.difference.interval.model_dump(mode="json"),
                    "rows": found.difference.rows,
                },
                "weights": None
                if made.weighing is None
                else {**asdict(made.weighing), "is_better": made.weighing.is_better},
                "manifest": made.written.model_dump(mode="json"),
            }
        )
        return
    metrics = [metric for metric in _SHOWN if any(figure.metric == metric for figure in found.figures[found.merged])]
    say_table(
        ("", *metrics),
        [(alias, *(_cell(figures, metric) for metric in metrics)) for alias, figures in found.figures.items()],
    )
    say(f"{found.metric} of {found.merged} less that of {found.best}, the best member here: {_difference(found)}")
    say(f"{found.difference.rows:,} rows; intervals of 95 %, {found.difference.interval.method}")
    if made.weighing is not None:
        say(_chosen(made.weighing))
    say(f"saved in {out}")


def _chosen(found: "Weighing") -> str:
    """What became of the weights."""
    losses = (
        f"log loss of rows left out {found.loss:.4f}, with equal weights {found.equal_loss:.4f}, {found.rows:,} rows"
    )
    if found.is_better:
        return f"weights {', '.join(f'{weight:.2f}' for weight in found.weights)} ({losses})"
    return f"weights all alike: no others are better ({losses})"


def _cell(figures: "tuple[EvaluationSpec, ...]", metric: str) -> str:
    item = next(figure for figure in figures if figure.metric == metric)
    return f"{item.value:.3f} ({item.interval.low:.3f} to {item.interval.high:.3f})"


def _difference(found: "Comparison") -> str:
    interval = found.difference.interval
    return f"{found.difference.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
