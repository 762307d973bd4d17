"""Markdown tables of a report: sorted by the figure, never by whose method it is."""

from collections.abc import Callable, Sequence

from petapter.benchmark.statistics import Compared, Summary
from petapter_schemas.manifest import Interval

_ABSENT = "-"
_KILO = 1000


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are set to the right."""
    numeric = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    rule = ["---:" if is_number else "---" for is_number in numeric]
    lines = [columns, rule, *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def quality_table(summaries: Sequence[Summary]) -> str:
    """One line per method, the highest accuracy first."""
    ordered = sorted(summaries, key=lambda item: (-item.accuracy, item.method))
    columns = ("method", "accuracy", "sd samples", "sd seeds", "worst", "macro-F1", "ECE", "Brier", "log loss", "AURC",
               "samples", "runs")  # fmt: skip
    rows = [
        (item.method, _share(item.accuracy), _share(item.sd_samples), _share(item.sd_seeds), _share(item.lowest),
         _share(item.macro_f1), _share(item.ece), _share(item.brier), _share(item.log_loss), _share(item.aurc),
         item.samples, item.runs)
        for item in ordered
    ]  # fmt: skip
    return table(columns, rows)


def comparison_table(compared: Sequence[Compared]) -> str:
    """One line per method, the largest gain in accuracy first."""
    ordered = sorted(compared, key=lambda item: (-item.accuracy.mean, item.method))
    columns = (
        "method",
        "accuracy",
        "95 %, bootstrap",
        "95 %, t",
        "both say",
        "macro-F1",
        "95 %, t",
        "samples",
        "seeds",
    )
    rows = [
        (item.method, _signed(item.accuracy.mean), _interval(item.accuracy.interval),
         _interval(item.accuracy.t_interval), item.verdict, _signed(item.macro_f1.mean),
         _interval(item.macro_f1.t_interval), item.accuracy.samples, item.accuracy.seeds)
        for item in ordered
    ]  # fmt: skip
    return table(columns, rows)


def cost_table(summaries: Sequence[Summary], baseline: str) -> str:
    """One line per method, the quickest training first, with ratios to the baseline where it was measured too."""
    base = next((_costs(item) for item in summaries if item.method == baseline), (None, None, None, None))
    writers = (_seconds, _seconds, size_text, size_text)
    rows = [
        (item.method, *(_with_ratio(write, *pair) for write, *pair in zip(writers, _costs(item), base, strict=True)))
        for item in sorted(summaries, key=lambda item: (item.train_seconds, item.method))
    ]
    return table(("method", "training", "1,000 answers", "module", "peak memory"), rows)


def count_text(count: int, what: str) -> str:
    """A number with its noun."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def size_text(size_bytes: float | None) -> str:
    """A size in decimal units."""
    if size_bytes is None:
        return _ABSENT
    size = size_bytes
    for unit in ("B", "kB", "MB"):
        if size < _KILO:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KILO
    return f"{size:.2f} GB"


def _costs(item: Summary) -> tuple[float | None, ...]:
    return (item.train_seconds, item.predict_seconds_per_1000, item.module_bytes, item.peak_memory_bytes)


def _with_ratio(write: Callable[[float | None], str], value: float | None, base: float | None) -> str:
    return write(value) if not value or not base else f"{write(value)} ({value / base:.2g}x)"


def _seconds(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.2f} s"


def _share(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _interval(interval: Interval) -> str:
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
