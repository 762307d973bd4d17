"""One method against each of its rivals: what a claim about it rests on, over the samples that both ran on."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from petapter.benchmark.results import Result
from petapter.benchmark.statistics import Place, Summary, compare, on_common_samples, summarise
from petapter_schemas.manifest import Interval

Cost = Literal["train_seconds", "train_cpu_seconds", "module_bytes", "peak_memory_bytes"]
Spread = Literal["sd_samples", "sd_seeds"]

_DIGITS = 9
"""Differences of means that ought to be zero are about 1e-17."""


@dataclass(frozen=True)
class Contest:
    """The method against one rival at one place.

    Attributes:
        place: Data set, backbone and size.
        rival: Name of the rival.
        ours: The method on the samples that both ran on.
        theirs: The rival on the same samples.
        interval: Student's t over the samples for the difference in accuracy; None with one sample.
    """

    place: Place
    rival: str
    ours: Summary
    theirs: Summary
    interval: Interval | None

    @property
    def difference(self) -> float:
        """The method's accuracy less the rival's."""
        return round(self.ours.accuracy - self.theirs.accuracy, _DIGITS)

    def ratio(self, cost: Cost) -> float | None:
        """What the method costs by what the rival costs; None where either was not measured or the rival's is zero."""
        ours, theirs = getattr(self.ours, cost), getattr(self.theirs, cost)
        return ours / theirs if ours is not None and theirs else None

    def is_larger(self, spread: Spread) -> bool | None:
        """Whether the method's standard deviation is larger than the rival's; None where either was not measured."""
        ours, theirs = getattr(self.ours, spread), getattr(self.theirs, spread)
        return None if ours is None or theirs is None else round(ours - theirs, _DIGITS) > 0


@dataclass(frozen=True)
class Count:
    """On how many of how many data sets something holds; those where it was not measured count in neither."""

    holds: int
    measured: int


@dataclass(frozen=True)
class Tally:
    """The contests with one rival at one size, over data sets.

    Attributes:
        backbone: Name of the backbone.
        n: Size of the samples.
        rival: Name of the rival.
        data_sets: How many.
        higher, lower: On how many the accuracy is higher or lower.
        above, below: On how many the interval of the difference lies above or below zero.
        mean: Difference in accuracy, mean over data sets.
        worst: The contest with the lowest difference.
        larger_sd_samples, larger_sd_seeds: On how many the standard deviation is larger than the rival's.
        train_ratio, cpu_ratio: Seconds and processor's seconds of training by the rival's, geometric means.
    """

    backbone: str
    n: int
    rival: str
    data_sets: int
    higher: int
    lower: int
    above: int
    below: int
    mean: float
    worst: Contest
    larger_sd_samples: Count
    larger_sd_seeds: Count
    train_ratio: float | None
    cpu_ratio: float | None


def contests(
    places: Mapping[Place, Mapping[str, Sequence[Result]]], subject: str, rivals: Sequence[str]
) -> list[Contest]:
    """Every contest for which the results hold a common sample, rival by rival within a place."""
    found = [
        _contest(place, rival, methods[subject], methods[rival])
        for place, methods in places.items()
        for rival in rivals
        if subject in methods and rival in methods
    ]
    return [contest for contest in found if contest is not None]


def tallies(held: Sequence[Contest]) -> list[Tally]:
    """One tally for each backbone, size and rival, in the order of their first contests."""
    grouped: dict[tuple[str, int, str], list[Contest]] = defaultdict(list)
    for contest in held:
        grouped[contest.place.backbone, contest.place.n, contest.rival].append(contest)
    return [_tally(key, group) for key, group in grouped.items()]


def _contest(place: Place, rival: str, results: Sequence[Result], others: Sequence[Result]) -> Contest | None:
    ours, theirs = on_common_samples(results, others)
    if not ours:
        return None
    compared = compare(rival, ours, theirs)
    interval = None if compared is None else compared.accuracy.t_interval
    return Contest(place, rival, summarise("", ours), summarise(rival, theirs), interval)


def _tally(key: tuple[str, int, str], held: Sequence[Contest]) -> Tally:
    backbone, n, rival = key
    differences = [contest.difference for contest in held]
    intervals = [contest.interval for contest in held if contest.interval is not None]
    return Tally(
        backbone=backbone,
        n=n,
        rival=rival,
        data_sets=len(held),
        higher=sum(difference > 0 for difference in differences),
        lower=sum(difference < 0 for difference in differences),
        above=sum(interval.low > 0 for interval in intervals),
        below=sum(interval.high < 0 for interval in intervals),
        mean=sum(differences) / len(held),
        worst=min(held, key=lambda contest: contest.difference),
        larger_sd_samples=_count([contest.is_larger("sd_samples") for contest in held]),
        larger_sd_seeds=_count([contest.is_larger("sd_seeds") for contest in held]),
        train_ratio=_geometric_mean([contest.ratio("train_seconds") for contest in held]),
        cpu_ratio=_geometric_mean([contest.ratio("train_cpu_seconds") for contest in held]),
    )


def _count(answers: Sequence[bool | None]) -> Count:
    measured = [answer for answer in answers if answer is not None]
    return Count(sum(measured), len(measured))


def _geometric_mean(ratios: Sequence[float | None]) -> float | None:
    """Of the ratios that were measured; a ratio and its inverse weigh alike."""
    measured = [ratio for ratio in ratios if ratio]
    return math.exp(sum(map(math.log, measured)) / len(measured)) if measured else None
