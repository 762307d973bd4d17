"""Plots of a report; the one file that knows matplotlib, which it imports when it draws.

A row for each data set and a column for each size, with one scale along a row and one order of methods for all panels,
so that panels can be read against each other.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from petapter.benchmark.statistics import Compared, Place, Summary
from petapter_schemas.manifest import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 3.8
_NAMES_WIDTH = 2.2
_HEIGHT_OF_A_LINE = 0.21
_MARGIN = 0.55
_FOOT = 0.4
_DOTS_PER_INCH = 110
_SUBJECT_COLOUR = "tab:blue"


@dataclass(frozen=True)
class _Point:
    """A method in a panel: its figure, a thin interval, and a thick one where there are two."""

    value: float
    thin: tuple[float, float]
    thick: tuple[float, float] | None = None


_Panels = Mapping[Place, Mapping[str, _Point]]


def draw_accuracies(summaries: Mapping[Place, Sequence[Summary]], subject: str | None, path: Path) -> None:
    """Mean accuracy of each method at each place, with one standard deviation between samples."""
    panels = {place: {item.method: _spread(item) for item in items} for place, items in summaries.items()}
    figure, _ = _draw(panels, subject)
    _save(figure, "accuracy, ± one standard deviation between samples", path)


def draw_differences(
    compared: Mapping[Place, Sequence[Compared]], subject: str | None, baseline: str, path: Path
) -> None:
    """Difference in accuracy from the baseline at each place, bootstrap interval thick, t interval thin."""
    panels = {place: {item.method: _difference(item) for item in items} for place, items in compared.items() if items}
    figure, axes = _draw(panels, subject)
    for axis in axes:
        axis.axvline(0.0, color="black", linewidth=0.8, linestyle="--")
    _save(figure, f"accuracy less that of {baseline}; 95 % intervals: thick bootstrap, thin t", path)


def _spread(item: Summary) -> _Point:
    spread = item.sd_samples or 0.0
    return _Point(item.accuracy, (item.accuracy - spread, item.accuracy + spread))


def _difference(item: Compared) -> _Point:
    return _Point(item.accuracy.mean, _ends(item.accuracy.t_interval), _ends(item.accuracy.interval))


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _draw(panels: _Panels, subject: str | None) -> "tuple[Figure, list[Axes]]":
    """All panels, the method with the best mean on top, the subject in colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415 (likewise)

    rows = list(dict.fromkeys((place.backbone, place.dataset) for place in panels))
    sizes = sorted({place.n for place in panels})
    methods = _worst_to_best(panels)
    height = _FOOT + len(rows) * (_MARGIN + _HEIGHT_OF_A_LINE * len(methods))
    figure = Figure(figsize=(_NAMES_WIDTH + _WIDTH * len(sizes), height), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display and without pyplot's global state
    axes = figure.subplots(len(rows), len(sizes), sharex="row", sharey=True, squeeze=False)
    for line, (backbone, dataset) in enumerate(rows):
        for column, n in enumerate(sizes):
            place = Place(backbone, dataset, n)
            _fill(axes[line, column], place, panels.get(place, {}), methods, subject)
    for axis in axes[:, 0]:
        axis.set_yticks(range(len(methods)), [_plain(method) for method in methods], fontsize=9)
        for method, label in zip(methods, axis.get_yticklabels(), strict=False):
            label.set_color(_colour(method, subject))
    return figure, list(axes.flat)


def _worst_to_best(panels: _Panels) -> list[str]:
    values: dict[str, list[float]] = defaultdict(list)
    for points in panels.values():
        for method, point in points.items():
            values[method].append(point.value)
    return sorted(values, key=lambda method: (mean(values[method]), method))


def _fill(
    axis: "Axes", place: Place, points: Mapping[str, _Point], methods: Sequence[str], subject: str | None
) -> None:
    axis.set_ylim(-0.6, len(methods) - 0.4)
    for line, method in enumerate(methods):
        colour = _colour(method, subject)
        if (point := points.get(method)) is not None:
            axis.hlines(line, *point.thin, color=colour, linewidth=1)
            if point.thick is not None:
                axis.hlines(line, *point.thick, color=colour, linewidth=3)
            axis.plot(point.value, line, "o", color=colour, markersize=4)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", linewidth=0.3)
    nothing = "" if points else ": no results"
    axis.set_title(_plain(f"{place.dataset}, n={place.n}, {place.backbone}{nothing}"), fontsize=9)


def _colour(method: str, subject: str | None) -> str:
    return _SUBJECT_COLOUR if method == subject else "black"


def _save(figure: "Figure", what: str, path: Path) -> None:
    figure.supxlabel(_plain(what), fontsize=9)
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _plain(text: str) -> str:
    """Names are names: matplotlib would read a dollar sign as mathematics."""
    return text.replace("$", r"\$")
