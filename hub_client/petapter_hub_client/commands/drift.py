# ruff: noqa: PLC0415 (each command imports what it needs, so that --help stays fast)
"""`petapter drift`: whether today's texts are still like those a module was trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from petapter_hub_client.commands.options import BackboneOption, DeviceOption, JsonOption, prepare_torch
from petapter_hub_client.exit_codes import ExitCode
from petapter_hub_client.output import hush_huggingface, progress, say, say_json, say_table

if TYPE_CHECKING:
    from petapter.evaluation.drift import DriftReport, Finding, LabelShift


def drift(  # noqa: PLR0913 (a command's options)
    module: Annotated[str, typer.Argument(metavar="MODULE", help="A module directory or a reference.")],
    texts: Annotated[Path, typer.Argument(metavar="TEXTS.csv", help="New texts: CSV with a header, or JSON Lines.")],
    *,
    alpha: Annotated[float, typer.Option(help="How often unchanged texts may raise an alarm.")] = 0.01,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the comparison, as .png or .svg.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random splits behind the p-values.")] = 0,
    backbone: BackboneOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare new texts with those a module was trained on; exit code 8 if they have changed."""
    prepare_torch("drift")
    from petapter.evaluation.drift_plot import check_plot, draw_drift
    from petapter.monitoring import drift as compare
    from petapter.task import read_texts
    from petapter_hub_client.local_runs import load_backbone, locate_modules, shared_backbone

    hush_huggingface()
    if plot is not None:
        check_plot(plot)
    with progress("comparing"):
        (located,) = locate_modules([module])
        new = read_texts(texts, located.manifest.task.fields)
        loaded = load_backbone(shared_backbone(backbone, [located.manifest]), device=device)
        report = compare(loaded, located.directory, new, alpha=alpha, seed=seed)
    if plot is not None:
        draw_drift(report, plot)
    if as_json:
        say_json(_as_json(report))
    else:
        _show(report)
    if report.drifted:
        raise typer.Exit(ExitCode.DRIFTED)


def _show(report: "DriftReport") -> None:
    rows = [
        (
            finding.what,
            f"{finding.distance:.4f}",
            f"{finding.by_chance:.4f}",
            f"{finding.p_value:.3f}",
            _verdict(drifted=finding.drifted),
        )
        for finding in report.findings
    ]
    say_table(("what", "distance", "by chance", "p", "verdict"), rows)
    if report.labels:
        say("")
        _show_labels(report.labels)
    for finding in report.findings:
        if finding.what == "labels" and report.labels:
            continue
        if finding.what == "labels" or (finding.drifted and finding.what != "tokens"):
            say("")
            _show_bins(finding)
    if report.accuracy is not None:
        found = report.accuracy
        say("")
        say(
            f"accuracy may be {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) on these texts; "
            f"of training rows that were left out {found.at_training:.3f} were right"
        )


def _show_labels(shifts: "Sequence[LabelShift]") -> None:
    rows = []
    for shift in shifts:
        numbers = (f"{number:.3f}" for number in (shift.before, shift.now, shift.p_value))
        rows.append((shift.label, *numbers, _verdict(drifted=shift.drifted)))
    say_table(("label given to", "at training", "now", "p", "verdict"), rows)


def _verdict(*, drifted: bool) -> str:
    return "changed" if drifted else "as before"


def _show_bins(finding: "Finding") -> None:
    shares = zip(finding.bins, finding.before, finding.now, strict=True)
    rows = [(name, f"{before:.3f}", f"{now:.3f}") for name, before, now in shares if before or now]
    say_table((finding.what, "at training", "now"), rows)


def _as_json(report: "DriftReport") -> dict[str, object]:
    from dataclasses import asdict

    return {"drifted": report.drifted, **asdict(report)}
