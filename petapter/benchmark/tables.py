"""Markdown tables of a report: sorted by the figure, never by whose method it is."""

from collections.abc import Callable, Iterable, Sequence

from petapter.benchmark.rivals import Contest, Count, Tally
from petapter.benchmark.statistics import Compared, Summary
from petapter_schemas.manifest import Interval

_ABSENT = "-"
_KILO = 1000
_POINTS = 100
_TWO_DIGITS_BELOW = 99.5


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
        "runs",
    )
    rows = [
        (item.method, _signed(item.accuracy.mean), _interval(item.accuracy.interval),
         _interval(item.accuracy.t_interval), item.verdict, _signed(item.macro_f1.mean),
         _interval(item.macro_f1.t_interval), item.accuracy.samples, _pair(map(str, item.runs)))
        for item in ordered
    ]  # fmt: skip
    return table(columns, rows)


def cost_table(summaries: Sequence[Summary], baseline: str) -> str:
    """One line per method, the quickest training first, with ratios to the baseline where it was measured too."""
    writers = (_seconds, _seconds, _seconds, size_text, size_text)
    base = next((_costs(item) for item in summaries if item.method == baseline), (None,) * len(writers))
    rows = [
        (item.method, *(_with_ratio(write, *pair) for write, *pair in zip(writers, _costs(item), base, strict=True)))
        for item in sorted(summaries, key=lambda item: (item.train_seconds, item.method))
    ]
    return table(("method", "training", "processor", "1,000 answers", "module", "peak memory"), rows)


def rival_table(contests: Sequence[Contest]) -> str:
    """One line per data set and rival, in the order given; accuracies, differences and deviations in points."""
    columns = ("data set", "rival", "accuracy", "difference", "95 %, t", "sd samples", "sd seeds", "training",
               "processor", "module", "memory", "samples", "runs")  # fmt: skip
    rows = [
        (item.place.dataset, item.rival, _points(item.ours.accuracy, item.theirs.accuracy), _gain(item.difference),
         _ABSENT if item.interval is None else f"{_gain(item.interval.low)} to {_gain(item.interval.high)}",
         _points(item.ours.sd_samples, item.theirs.sd_samples), _points(item.ours.sd_seeds, item.theirs.sd_seeds),
         _times(item.ratio("train_seconds")), _times(item.ratio("train_cpu_seconds")),
         _times(item.ratio("module_bytes")), _times(item.ratio("peak_memory_bytes")),
         item.ours.samples, _pair((str(item.ours.runs), str(item.theirs.runs))))
        for item in contests
    ]  # fmt: skip
    return table(columns, rows)


def tally_table(tallies: Sequence[Tally]) -> str:
    """One line per backbone, size and rival: on how many data sets the method won and lost, and the worst of them."""
    columns = ("backbone", "n", "rival", "data sets", "higher", "lower", "interval above 0", "interval below 0",
               "mean difference", "worst difference", "sd samples larger", "sd seeds larger", "training",
               "processor")  # fmt: skip
    rows = [
        (item.backbone, item.n, item.rival, item.data_sets, item.higher, item.lower, item.above, item.below,
         _gain(item.mean), f"{_gain(item.worst.difference)} ({item.worst.place.dataset})",
         _of(item.larger_sd_samples), _of(item.larger_sd_seeds), _times(item.train_ratio), _times(item.cpu_ratio))
        for item in tallies
    ]  # fmt: skip
    return table(columns, rows)


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
    return (item.train_seconds, item.train_cpu_seconds, item.predict_seconds_per_1000, item.module_bytes,
            item.peak_memory_bytes)  # fmt: skip


def _with_ratio(write: Callable[[float | None], str], value: float | None, base: float | None) -> str:
    return write(value) if not value or not base else f"{write(value)} ({_times(value / base)})"


def _times(ratio: float | None) -> str:
    """A ratio with two digits, or with all that stand before the point."""
    if ratio is None:
        return _ABSENT
    return f"{ratio:.2g}x" if ratio < _TWO_DIGITS_BELOW else f"{ratio:.0f}x"


def _seconds(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.2f} s"


def _share(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _gain(value: float) -> str:
    """A difference in points of accuracy."""
    return f"{_POINTS * value:+.2f}"


def _points(ours: float | None, theirs: float | None) -> str:
    return _pair(_ABSENT if value is None else f"{_POINTS * value:.2f}" for value in (ours, theirs))


def _pair(texts: Iterable[str]) -> str:
    """The method's figure and the other's."""
    return " / ".join(texts)


def _of(count: Count) -> str:
    return f"{count.holds} of {count.measured}" if count.measured else _ABSENT


def _interval(interval: Interval) -> str:
    return f"{_signed(interval.low)} to {_signed(interval.high)}"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
