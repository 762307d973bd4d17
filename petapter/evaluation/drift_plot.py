"""Draws a drift report: the training texts beside the new ones, one panel for each comparison."""

from pathlib import Path
from typing import TYPE_CHECKING

from petapter.evaluation.drift import DriftReport, Finding
from petapter_schemas.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES = (4.0, 2.8)
_DOTS_PER_INCH = 110
_BAR = 0.4
_PICTURES = (".png", ".svg")


def check_plot(path: Path) -> None:
    """Refuse a picture that cannot be written, before time is spent on what it shows.

    Raises:
        InputError: The suffix is of no picture, or there is no such folder.
    """
    if path.suffix.lower() not in _PICTURES:
        raise InputError(f"{path}: a plot is a picture, so its name ends in {' or '.join(_PICTURES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}: make it first")


def draw_drift(report: DriftReport, path: Path) -> None:
    """Write the picture, .png or .svg by the suffix of the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415 (likewise)

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * 2, height * -(-len(report.findings) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(-(-len(report.findings) // 2), 2, squeeze=False).flat)
    for panel, finding in zip(panels, report.findings, strict=False):
        _draw(panel, finding)
    for panel in panels[len(report.findings) :]:
        panel.set_visible(False)
    figure.suptitle(f"{report.texts} new texts beside the training texts")
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(panel: "Axes", finding: Finding) -> None:
    bins = range(len(finding.before))
    panel.bar([number - _BAR / 2 for number in bins], finding.before, _BAR, label="training", color="tab:gray")
    panel.bar([number + _BAR / 2 for number in bins], finding.now, _BAR, label="new", color="tab:blue")
    verdict = "changed" if finding.drifted else "as before"
    panel.set_title(f"{finding.what}: {verdict} (p = {finding.p_value:.3g})", fontsize="medium")
    panel.set_ylabel("share")
    many = len(finding.bins) > 12  # noqa: PLR2004 (names of more bins cannot be read)
    panel.set_xticks([] if many else list(bins), [] if many else finding.bins, fontsize="small", rotation=30)
    panel.legend(fontsize="small", loc="upper right")  # the best place takes long to find
