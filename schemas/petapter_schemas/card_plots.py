"""The plots of a model card and of a module's page, as SVG of a few kB: the same bytes of the same numbers everywhere.

Written without a plotting library, so that a push needs none. What was not recorded is not drawn.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Manifest
from petapter_schemas.plot_data import Confusion, LossPoint, PlotData

MAX_PLOT_BYTES = 40_000

CONFUSION_PLOT = "plot-confusion.svg"
F1_PLOT = "plot-f1.svg"
RELIABILITY_PLOT = "plot-reliability.svg"
LOSS_PLOT = "plot-loss.svg"
PLOT_FILES = (CONFUSION_PLOT, F1_PLOT, RELIABILITY_PLOT, LOSS_PLOT)

_AXES_OF_CONFUSION = "label, and (across) the label that was given"
_MOST_CELLS = 14
_MOST_BARS = 40
_NAME_CHARACTERS = 20
_CHARACTER = 6.4
_CELL = 34
_LINE = 18
_SIDE = 300
_EDGE = 52
_INK, _FAINT, _BLUE, _ORANGE = "#1f2328", "#d0d7de", "#2f6fb2", "#c4561c"


@dataclass(frozen=True)
class Plot:
    """A picture of the card.

    Attributes:
        path: Its file in the module.
        title: What it shows, for the heading.
        alt: What it says, for who cannot see it.
        svg: The file.
    """

    path: str
    title: str
    alt: str
    svg: str


def draw_plots(manifest: Manifest, data: PlotData | None) -> tuple[Plot, ...]:
    """The plots whose numbers are there, in the order of the card."""
    drawn: list[Plot] = []
    if data is not None and data.confusions:
        confusion, names = data.confusions[0], manifest.task.label_names
        drawn += [draw_confusion(confusion, names), draw_f1(confusion, names)]
    if (calibrated := next((item for item in manifest.evaluation if item.reliability), None)) is not None:
        drawn.append(draw_reliability(calibrated))
    if data is not None and len(data.losses) > 1:
        drawn.append(draw_losses(data.losses))
    return tuple(plot for plot in drawn if len(plot.svg.encode()) <= MAX_PLOT_BYTES)


def draw_confusion(confusion: Confusion, names: Sequence[str]) -> Plot:
    """Rows by their label and the label they were given; of many labels, those with the most errors."""
    counts = confusion.counts
    shown = most_confused(confusion)
    left = _CHARACTER * max(len(_short(names[label])) for label in shown) + 12
    top, side = left * 0.75 + 40, _CELL * len(shown)
    parts = [_text(0, 16, _AXES_OF_CONFUSION, size=12)]
    for place, label in enumerate(shown):
        middle = (place + 0.5) * _CELL
        parts.append(_text(left - 6, top + middle + 4, _short(names[label]), anchor="end"))
        parts.append(_text(left + middle, top - 6, _short(names[label]), turn=-45))
        total = sum(counts[label]) or 1
        for across, given in enumerate(shown):
            if count := counts[label][given]:
                colour = _BLUE if label == given else _ORANGE
                x, y = left + across * _CELL, top + place * _CELL
                parts.append(_box(x, y, _CELL, _CELL, colour, 0.12 + 0.88 * count / total))
                ink = "#ffffff" if count / total > 0.5 else _INK  # noqa: PLR2004 (half as dark as can be)
                parts.append(_text(x + _CELL / 2, y + _CELL / 2 + 4, str(count), anchor="middle", colour=ink))
    parts.append(_frame(left, top, side, side))
    some = "" if len(shown) == len(names) else f", the {len(shown)} labels with the most errors of {len(names)}"
    alt = (
        f"Confusion matrix on {_on(confusion.evaluation_set)}{some}: {confusion.right:,} rows are right"
        f"{_worst_pair(confusion, names)}."
    )
    width = max(left + side + left * 0.75 + 12, _CHARACTER * len(_AXES_OF_CONFUSION))
    return _plot(CONFUSION_PLOT, f"Confusion matrix{some}", alt, (width, top + side + 12), parts)


def most_confused(confusion: Confusion) -> list[int]:
    """The labels that a confusion matrix shows, in label order: all of a few, of many those with the most errors."""
    counts = confusion.counts
    wrong = [
        sum(counts[label]) + sum(row[label] for row in counts) - 2 * counts[label][label]
        for label in range(len(counts))
    ]
    worst = sorted(range(len(counts)), key=lambda label: (-wrong[label], label))[:_MOST_CELLS]
    return sorted(worst)


def _worst_pair(confusion: Confusion, names: Sequence[str]) -> str:
    pairs = [
        (count, label, given)
        for label, row in enumerate(confusion.counts)
        for given, count in enumerate(row)
        if label != given and count
    ]
    if not pairs:
        return ""
    count, label, given = max(pairs, key=lambda pair: (pair[0], -pair[1], -pair[2]))
    return f"; the most frequent error is {_short(names[given])} for {_short(names[label])}, {count:,} times"


def draw_f1(confusion: Confusion, names: Sequence[str]) -> Plot:
    """F1 of each label, the lowest first; of many labels, the lowest alone."""
    values = f1_by_label(confusion)
    shown = sorted(values, key=lambda label: (values[label], label))[:_MOST_BARS]
    left = _CHARACTER * max(len(_short(names[label])) for label in shown) + 12
    parts = []
    for place, label in enumerate(shown):
        y = 8 + place * _LINE
        parts.append(_text(left - 6, y + 12, _short(names[label]), anchor="end"))
        parts.append(_box(left, y + 2, _SIDE, _LINE - 5, _FAINT, 0.45))
        parts.append(_box(left, y + 2, _SIDE * values[label], _LINE - 5, _BLUE, 0.9))
        parts.append(_text(left + _SIDE + 6, y + 12, f"{values[label]:.2f}"))
    some = "" if len(shown) == len(names) else f", the {len(shown)} lowest of {len(names)}"
    low, high = shown[0], shown[-1]
    alt = (
        f"F1 of each label on {_on(confusion.evaluation_set)}{some}: from {values[low]:.2f} ({_short(names[low])}) to "
        f"{values[high]:.2f} ({_short(names[high])})."
    )
    size = (left + _SIDE + 48, 16 + _LINE * len(shown))
    return _plot(F1_PLOT, f"F1 of each label{some}", alt, size, parts)


def f1_by_label(confusion: Confusion) -> dict[int, float]:
    """F1, that is 2 · right / (rows of it + rows given it), of the labels that occur or were given."""
    counts = confusion.counts
    both = {label: sum(counts[label]) + sum(row[label] for row in counts) for label in range(len(counts))}
    return {label: 2 * counts[label][label] / total for label, total in both.items() if total}


def draw_reliability(item: EvaluationSpec) -> Plot:
    """How often it is right beside how sure it is, in bins of equally many rows."""
    points = [(each.confidence, each.accuracy) for each in item.reliability]
    parts = [*_axes("mean probability of its answer", "share that is right", ("0", "1"), ("0", "1"))]
    parts.append(_line([(0.0, 0.0), (1.0, 1.0)], _FAINT, dashed=True))
    parts.append(_line(points, _BLUE))
    parts += [_dot(x, y) for x, y in points]
    (least, least_right), (most, most_right) = points[0], points[-1]
    alt = (
        f"Reliability diagram on {_on(item.evaluation_set)}: {len(points)} bins, the surest says {most:.2f} and is "
        f"right in {most_right:.2f}, the least sure says {least:.2f} and is right in {least_right:.2f}; calibration "
        f"error {item.value:.3f}."
    )
    return _plot(RELIABILITY_PLOT, "Reliability", alt, (_SIDE + _EDGE + 16, _SIDE + _EDGE + 16), parts)


def draw_losses(losses: Sequence[LossPoint]) -> Plot:
    """Loss over steps, from 0 to the highest."""
    top, last = max(1e-9, *(point.loss for point in losses)), losses[-1].step
    points = [(point.step / last, max(point.loss, 0.0) / top) for point in losses]
    parts = [*_axes("step", "training loss", ("0", f"{last:,}"), ("0", f"{top:.3g}")), _line(points, _BLUE)]
    alt = f"Training loss over {last:,} steps: {losses[0].loss:.3g} at the beginning, {losses[-1].loss:.3g} at the end."
    return _plot(LOSS_PLOT, "Learning curve", alt, (_SIDE + _EDGE + 16, _SIDE + _EDGE + 16), parts)


def _on(rows: EvaluationSet) -> str:
    return f"{rows.name} ({rows.split}, {rows.n:,} rows)"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…"


def _axes(across: str, up: str, x_ends: tuple[str, str], y_ends: tuple[str, str]) -> Iterator[str]:
    bottom = 8 + _SIDE
    yield _frame(_EDGE, 8, _SIDE, _SIDE)
    yield _text(_EDGE, bottom + 16, x_ends[0], anchor="middle")
    yield _text(_EDGE + _SIDE, bottom + 16, x_ends[1], anchor="middle")
    yield _text(_EDGE + _SIDE / 2, bottom + 32, across, anchor="middle")
    yield _text(_EDGE - 5, bottom, y_ends[0], anchor="end")
    yield _text(_EDGE - 5, 18, y_ends[1], anchor="end")
    yield _text(14, 8 + _SIDE / 2, up, anchor="middle", turn=-90)


def _line(points: Iterable[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    """A line through points of the unit square."""
    path = " ".join(f"{_number(_EDGE + x * _SIDE)},{_number(8 + (1 - y) * _SIDE)}" for x, y in points)
    dashes = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'


def _dot(x: float, y: float) -> str:
    at = f'cx="{_number(_EDGE + x * _SIDE)}" cy="{_number(8 + (1 - y) * _SIDE)}"'
    return f'<circle {at} r="3" fill="{_BLUE}"/>'


def _box(x: float, y: float, width: float, height: float, colour: str, opacity: float) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
    return f'<rect {place} fill="{colour}" fill-opacity="{opacity:.2f}"/>'


def _frame(x: float, y: float, width: float, height: float) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'
    return f'<rect {place} fill="none" stroke="{_INK}" stroke-width="0.8"/>'


def _text(  # noqa: PLR0913 (what a text has)
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK, size: int = 11, turn: int = 0
) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}"'
    turned = f' transform="rotate({turn} {_number(x)} {_number(y)})"' if turn else ""
    look = f'text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    return f"<text {place} {look}{turned}>{escape(_writable(text))}</text>"


def _plot(path: str, title: str, alt: str, size: tuple[float, float], parts: Iterable[str]) -> Plot:
    width, height = (round(side) for side in size)
    shape = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {shape} role="img" font-family="sans-serif">',
        f"<title>{escape(_writable(title))}</title>",
        f"<desc>{escape(_writable(alt))}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *parts,
        "</svg>",
        "",
    ]
    return Plot(path, title, alt, "\n".join(lines))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _writable(text: str) -> str:
    """Names may hold characters that XML cannot."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
