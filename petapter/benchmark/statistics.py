"""What the report says of many runs: means, the two kinds of spread, paired differences over samples."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from petapter.benchmark.results import Result
from petapter.evaluation.comparison import ClusteredDifference, cluster_bootstrap

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where methods are compared: one data set, one backbone, one size."""

    backbone: str
    dataset: str
    n: int


@dataclass(frozen=True)
class Summary:
    """One method at one place.

    Attributes:
        method: Its name.
        samples: Samples with results.
        runs: Results.
        accuracy: Mean over samples of the mean over seeds.
        sd_samples: Standard deviation of the samples' means; None with one sample.
        sd_seeds: Root of the mean variance within a sample; None where no sample has two seeds.
        lowest: The worst run.
        macro_f1, ece, brier, log_loss, aurc: Means likewise; None where not measured.
        train_seconds: Median.
        train_cpu_seconds: Median of the processor's seconds, over all cores; None where no run notes them.
        predict_seconds_per_1000: Median.
        module_bytes, peak_memory_bytes: The most of all runs; None where not measured.
    """

    method: str
    samples: int
    runs: int
    accuracy: float
    sd_samples: float | None
    sd_seeds: float | None
    lowest: float
    macro_f1: float
    ece: float | None
    brier: float | None
    log_loss: float | None
    aurc: float | None
    train_seconds: float
    train_cpu_seconds: float | None
    predict_seconds_per_1000: float
    module_bytes: int | None
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class Compared:
    """One method against the baseline at one place.

    Attributes:
        method: Its name.
        accuracy: Its accuracy less the baseline's, on each sample of the means over their seeds.
        macro_f1: Its macro-F1 likewise.
        runs: Its runs on the common samples, and the baseline's.
    """

    method: str
    accuracy: ClusteredDifference
    macro_f1: ClusteredDifference
    runs: tuple[int, int]

    @property
    def verdict(self) -> str:
        """On which side of zero both intervals of the accuracy are."""
        intervals = (self.accuracy.interval, self.accuracy.t_interval)
        if all(interval.low > 0 for interval in intervals):
            return "better"
        return "worse" if all(interval.high < 0 for interval in intervals) else "not told apart"


def by_place(results: Sequence[Result]) -> dict[Place, dict[str, list[Result]]]:
    """Results by place and method; places in order of backbone, data set and size as they first occur."""
    grouped: dict[Place, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        grouped[Place(result.backbone, result.dataset, result.n)][result.method].append(result)
    return {place: dict(methods) for place, methods in grouped.items()}


def summarise(method: str, results: Sequence[Result]) -> Summary:
    """Summarise the runs of one method at one place."""
    accuracy = _by_sample(results, "accuracy")
    means = np.array([np.mean(values) for values in accuracy.values()])
    variances = [np.var(values, ddof=1) for values in accuracy.values() if len(values) > 1]
    return Summary(
        method=method,
        samples=len(accuracy),
        runs=len(results),
        accuracy=float(means.mean()),
        sd_samples=float(means.std(ddof=1)) if len(means) > 1 else None,
        sd_seeds=float(np.sqrt(np.mean(variances))) if variances else None,
        lowest=min(result.accuracy for result in results),
        macro_f1=_mean(results, "macro_f1") or 0.0,
        ece=_mean(results, "ece"),
        brier=_mean(results, "brier"),
        log_loss=_mean(results, "log_loss"),
        aurc=_mean(results, "aurc"),
        train_seconds=median(result.train_seconds for result in results),
        train_cpu_seconds=_cpu_seconds(results),
        predict_seconds_per_1000=median(1000 * result.predict_seconds / result.test_rows for result in results),
        module_bytes=_most(results, "module_bytes"),
        peak_memory_bytes=_most(results, "peak_memory_bytes"),
    )


def compare(method: str, results: Sequence[Result], baseline: Sequence[Result]) -> Compared | None:
    """Compare a method with the baseline on the samples that both ran on; None with fewer than two.

    What is compared on a sample is the mean over its seeds, one number for each method. Runs are not paired by seed:
    the same seed draws other numbers in another method, and either may have more seeds than the other. Where both have
    the same seeds, mean and intervals are those of runs paired by seed.
    """
    ours, theirs = on_common_samples(results, baseline)
    accuracy, macro_f1 = (_differences(ours, theirs, metric) for metric in ("accuracy", "macro_f1"))
    if len(accuracy) < 2:  # noqa: PLR2004 (one sample has no spread)
        return None
    return Compared(method, cluster_bootstrap(accuracy), cluster_bootstrap(macro_f1), (len(ours), len(theirs)))


def on_common_samples(results: Sequence[Result], others: Sequence[Result]) -> tuple[Sequence[Result], Sequence[Result]]:
    """The runs of two methods on the samples that both ran on."""
    common = {result.sample for result in results} & {result.sample for result in others}
    ours, theirs = ([result for result in runs if result.sample in common] for runs in (results, others))
    return ours, theirs


def _differences(ours: Sequence[Result], theirs: Sequence[Result], metric: str) -> _Floats:
    """Differences [samples, 1] of the means over seeds, of runs on the same samples."""
    mine, other = _by_sample(ours, metric), _by_sample(theirs, metric)
    return np.array([[np.mean(mine[sample]) - np.mean(other[sample])] for sample in sorted(mine)])


def _by_sample(results: Sequence[Result], metric: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = defaultdict(list)
    for result in results:
        if (value := getattr(result, metric)) is not None:
            values[result.sample].append(float(value))
    return values


def _mean(results: Sequence[Result], metric: str) -> float | None:
    values = _by_sample(results, metric)
    return float(np.mean([np.mean(item) for item in values.values()])) if values else None


def _most(results: Sequence[Result], metric: str) -> int | None:
    values = [value for result in results if (value := getattr(result, metric)) is not None]
    return max(values) if values else None


def _cpu_seconds(results: Sequence[Result]) -> float | None:
    noted = [result.details.get("train_cpu_seconds") for result in results]
    values = [float(value) for value in noted if isinstance(value, int | float)]
    return median(values) if values else None
