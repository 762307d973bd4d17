"""Plots of a report; the one file that knows matplotlib, which it imports when it draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from petapter.benchmark.statistics import Compared, Place, Summary
from petapter_schemas.manifest import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 4.6
_HEIGHT_OF_A_LINE = 0.28
_MARGIN = 1.0
_COLUMNS = 3
_DOTS_PER_INCH = 110


def draw_accuracies(summaries: Mapping[Place, Sequence[Summary]], path: Path) -> None:
    """A panel for each place: mean accuracy of each method, with one standard deviation between samples."""
    figure, axes = _panels(summaries)
    for axis, (place, items) in zip(axes, summaries.items(), strict=False):
        ordered = sorted(items, key=lambda item: (item.accuracy, item.method))
        spread = [item.sd_samples or 0.0 for item in ordered]
        _points(axis, [item.method for item in ordered], [item.accuracy for item in ordered], [spread, spread])
        axis.set_title(_title(place), fontsize=9)
        axis.set_xlabel("accuracy, ± one standard deviation between samples", fontsize=8)
    _save(figure, path)


def draw_differences(compared: Mapping[Place, Sequence[Compared]], baseline: str, path: Path) -> None:
    """A panel for each place: difference in accuracy from the baseline, bootstrap interval thick, t interval thin."""
    shown = {place: items for place, items in compared.items() if items}
    figure, axes = _panels(shown)
    for axis, (place, items) in zip(axes, shown.items(), strict=False):
        ordered = sorted(items, key=lambda item: (item.accuracy.mean, item.method))
        names, means = [item.method for item in ordered], [item.accuracy.mean for item in ordered]
        _points(axis, names, means, _reach(means, [item.accuracy.t_interval for item in ordered]))
        for line, item in enumerate(ordered):
            axis.hlines(line, item.accuracy.interval.low, item.accuracy.interval.high, color="black", linewidth=3)
        axis.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(_title(place), fontsize=9)
        axis.set_xlabel(f"accuracy less that of {_plain(baseline)}, 95 % intervals", fontsize=8)
    _save(figure, path)


def _reach(means: Sequence[float], intervals: Sequence[Interval]) -> list[list[float]]:
    """How far intervals go to both sides of their means."""
    pairs = list(zip(means, intervals, strict=True))
    return [[mean - interval.low for mean, interval in pairs], [interval.high - mean for mean, interval in pairs]]


def _panels(places: Mapping[Place, Sequence[object]]) -> "tuple[Figure, list[Axes]]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415 (likewise)

    columns = min(_COLUMNS, len(places))
    rows = -(-len(places) // columns)
    lines = max(len(items) for items in places.values())
    figure = Figure(figsize=(_WIDTH * columns, rows * (_MARGIN + _HEIGHT_OF_A_LINE * lines)), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display and without pyplot's global state
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(len(places))]
    return figure, axes


def _points(axis: "Axes", names: Sequence[str], values: Sequence[float], reach: Sequence[Sequence[float]]) -> None:
    places = list(range(len(names)))
    axis.errorbar(values, places, xerr=reach, fmt="o", color="black", markersize=4, capsize=3, linewidth=1)
    axis.set_yticks(places, [_plain(name) for name in names], fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.grid(axis="x", linewidth=0.3)


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _title(place: Place) -> str:
    return _plain(f"{place.dataset}, n={place.n}, {place.backbone}")


def _plain(text: str) -> str:
    """Names are names: matplotlib would read a dollar sign as mathematics."""
    return text.replace("$", r"\$")
