"""The plots of a module's page: the SVG of its card, each with a table that says the same in numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from petapter_schemas.card_plots import (
    Plot,
    draw_confusion,
    draw_f1,
    draw_losses,
    draw_reliability,
    f1_by_label,
    most_confused,
)
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Manifest
from petapter_schemas.plot_data import Confusion, LossPoint, PlotData


@dataclass(frozen=True)
class ShownPlot:
    """A plot and its table.

    Attributes:
        caption: What it shows.
        svg: Drawn by us of numbers and of names that are escaped.
        head: The table's columns.
        rows: Its rows.
        is_numbers: Whether the first column holds numbers too; else the names of the rows.
    """

    caption: str
    svg: Markup
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_numbers: bool = False


def plots(manifest: Manifest, data: PlotData | None) -> list[ShownPlot]:
    """Every plot whose numbers a module has, in the order of its card."""
    return list(_plots(manifest, data or PlotData()))


def _plots(manifest: Manifest, data: PlotData) -> Iterator[ShownPlot]:
    names = manifest.task.label_names
    for confusion in data.confusions:
        yield _confusion(confusion, names)
        yield _f1(confusion, names)
    for item in manifest.evaluation:
        if item.reliability:
            yield _reliability(item)
    if len(data.losses) > 1:
        yield _losses(data.losses)


def _confusion(confusion: Confusion, names: Sequence[str]) -> ShownPlot:
    shown = most_confused(confusion)
    plot, counts = draw_confusion(confusion, names), confusion.counts
    rows = [[names[label], *(f"{counts[label][given]:,}" for given in shown)] for label in shown]
    return _shown(plot, ["Label, given:", *(names[given] for given in shown)], rows, confusion.evaluation_set)


def _f1(confusion: Confusion, names: Sequence[str]) -> ShownPlot:
    values = f1_by_label(confusion)
    rows = [[names[label], f"{values[label]:.3f}"] for label in sorted(values, key=lambda each: (values[each], each))]
    return _shown(draw_f1(confusion, names), ["Label", "F1"], rows, confusion.evaluation_set)


def _reliability(item: EvaluationSpec) -> ShownPlot:
    rows = [[f"{each.confidence:.3f}", f"{each.accuracy:.3f}"] for each in item.reliability]
    plot = draw_reliability(item)
    on = f"{plot.title} on {_on(item.evaluation_set)}, calibration error {item.value:.3f}"
    return ShownPlot(on, _markup(plot), ["Mean confidence", "Share right"], rows, is_numbers=True)


def _losses(losses: Sequence[LossPoint]) -> ShownPlot:
    rows = [[f"{point.step:,}", f"{point.loss:.4g}"] for point in losses]
    plot = draw_losses(losses)
    return ShownPlot(f"{plot.title}: training loss by step", _markup(plot), ["Step", "Loss"], rows, is_numbers=True)


def _shown(plot: Plot, head: Sequence[str], rows: Sequence[Sequence[str]], on: EvaluationSet) -> ShownPlot:
    return ShownPlot(f"{plot.title} on {_on(on)}", _markup(plot), head, rows)


def _on(rows: EvaluationSet) -> str:
    return f"{rows.name} ({rows.split}, n {rows.n:,})"


def _markup(plot: Plot) -> Markup:
    return Markup(plot.svg)  # noqa: S704 (card_plots escapes every name)
