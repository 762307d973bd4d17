"""Whether texts of a later day are like those a module was trained on, and how often it may still be right.

Four things are compared with the module's profile: lengths, tokens, the mix of labels it gives, how sure it is. Each
distance is a Jensen-Shannon divergence over the profile's bins, in bits. What it would be by chance is asked of the new
texts themselves: they are split at random into two parts, one as large as the training set where they suffice, and the
parts are compared alike. A divergence between samples of m and n texts is proportional to 1/m + 1/n where nothing has
changed, which makes up for parts of other sizes. So a few training texts raise no alarm by being few. Tokens of short
texts scatter more than those of long ones: where the training texts scattered more, that counts for them. Of confidence
only a fall counts: the module saw all training rows and is surer than those that were asked about the rows left out.

Of a multi-label module the share of texts that each label is given is compared by Fisher's exact test, and Holm's
procedure (1979) is taken over the labels; all of them together are one comparison beside lengths and tokens.

Accuracy is estimated without labels by the difference of confidences (Guillory et al. 2021, arXiv 2107.03315): what the
module says of the new texts on average, corrected by how far that was off on training texts it had not seen. It follows
a change of the texts; it cannot see that the same texts have come to deserve other labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import fisher_exact

from petapter.evaluation.divergence import Numbers, between_parts, jensen_shannon
from petapter.evaluation.profile import Counts, Given, TextFeatures, TopAnswers, shares_by
from petapter_schemas.errors import DataError
from petapter_schemas.profile import AnswerProfile, Histogram, LabelRates, Profile

LEAST_NEW_TEXTS = 10
_LEAST_SPLITS = 1000
_LEAST_ALPHA = 0.0001
_Z95 = 1.959964  # two-sided 95 % of the normal distribution

What = Literal["lengths", "tokens", "labels", "confidences"]


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        what: What is compared.
        distance: Jensen-Shannon divergence in bits, 0 (alike) to 1.
        by_chance: Its mean where nothing has changed.
        p_value: How often it is as large or larger where nothing has changed.
        drifted: Whether that is too seldom, all comparisons together being wrong at most as often as `alpha` says
            (Holm 1979).
        bins: What the bins are called.
        before: Share of the training texts by bin.
        now: Share of the new texts by bin.
    """

    what: What
    distance: float
    by_chance: float
    p_value: float
    drifted: bool
    bins: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True)
class LabelShift:
    """How many of the texts a multi-label module gives one label.

    Attributes:
        label: Its name.
        before: Share of the training texts, by models that had not seen them.
        now: Share of the new texts.
        p_value: Of Fisher's exact test of the two, two-sided.
        drifted: Whether it has changed beyond chance, all labels together (Holm 1979).
    """

    label: str
    before: float
    now: float
    p_value: float
    drifted: bool


@dataclass(frozen=True)
class AccuracyEstimate:
    """How often the module may be right on the new texts, with a 95 % interval, and how often it was at training."""

    value: float
    low: float
    high: float
    at_training: float


@dataclass(frozen=True)
class DriftReport:
    """All comparisons; `accuracy` is None where the profile holds no answers.

    Attributes:
        texts: How many new texts there are.
        findings: Lengths and tokens first; then labels, and of a single-label module confidences, where the profile
            tells what left-out rows were given.
        accuracy: What may be left of the accuracy.
        labels: Of a multi-label module, each label whose rate is known; `labels` in the findings is all of them.
    """

    texts: int
    findings: tuple[Finding, ...]
    accuracy: AccuracyEstimate | None
    labels: tuple[LabelShift, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether anything has changed beyond chance."""
        return any(finding.drifted for finding in self.findings)


def compare_with(
    profile: Profile,
    features: TextFeatures,
    answers: TopAnswers | Given | None,
    label_names: Sequence[str],
    *,
    alpha: float = 0.01,
    seed: int = 0,
) -> DriftReport:
    """Compare new texts with the profile of a module.

    Args:
        profile: The module's own.
        features: Of the new texts.
        answers: What the module says of them, a multi-label one which labels it gives [N, L]; None if it was not asked.
        label_names: The module's labels in their order.
        alpha: How often an unchanged stream of texts may raise an alarm.
        seed: Of the random splits.

    Raises:
        DataError: There are fewer than LEAST_NEW_TEXTS texts, or `alpha` is none.
    """
    if not _LEAST_ALPHA <= alpha < 1:
        raise DataError(f"alpha is {alpha}: it is a share of false alarms from {_LEAST_ALPHA} to 1, such as 0.01")
    if len(features.lengths) < LEAST_NEW_TEXTS:
        raise DataError(
            f"{len(features.lengths)} texts are too few to compare: give {LEAST_NEW_TEXTS} or more, better hundreds"
        )
    rng = np.random.default_rng(seed)
    top = answers if isinstance(answers, TopAnswers) else None
    parts = _parts(profile, features, top, label_names)
    splits = max(_LEAST_SPLITS, math.ceil((len(parts) + 1) / alpha))  # fewer could not tell a p-value as low as that
    found = [_compare(part, splits, rng) for part in parts]
    shifts = _shifts(profile.rates, answers, label_names)
    if shifts and profile.rates is not None:
        found.append(_all_labels(shifts, profile.rates.texts, len(features.lengths)))
    alarms = _holm([finding.p_value for finding in found], alpha)
    findings = tuple(replace(finding, drifted=alarm) for finding, alarm in zip(found, alarms, strict=True))
    estimate = _accuracy(profile.answers, top) if profile.answers is not None and top is not None else None
    # no label has changed where all of them together have not
    which = _holm([shift.p_value for shift in shifts], alpha) if findings[-1].drifted else [False] * len(shifts)
    labels = tuple(replace(shift, drifted=alarm) for shift, alarm in zip(shifts, which, strict=True))
    return DriftReport(len(features.lengths), findings, estimate, labels)


@dataclass(frozen=True)
class _Part:
    """One thing to compare: the training texts' mean by bin, their number and their noise where it was noted, the new
    texts' values [N, bins], and whether a difference would count at all.
    """

    what: What
    bins: tuple[str, ...]
    before: Numbers
    trained: int
    rows: Numbers
    noise: float = 0.0
    counts: bool = True


def _parts(
    profile: Profile, features: TextFeatures, answers: TopAnswers | None, label_names: Sequence[str]
) -> list[_Part]:
    sketch = profile.tokens
    bins = tuple(f"from bucket {low}" for low in (0, *sketch.edges))
    parts = [
        _binned("lengths", profile.lengths, features.lengths),
        _Part(
            "tokens",
            bins,
            np.array(sketch.shares),
            profile.texts,
            shares_by(features.tokens, sketch.edges),
            sketch.noise,
        ),
    ]
    if profile.answers is None or answers is None:
        return parts
    labels = _labels(profile.answers, answers, label_names)
    confidences = _binned("confidences", profile.answers.confidences, answers.confidences)
    return [*parts, labels, replace(confidences, counts=bool(answers.confidences.mean() < profile.answers.confidence))]


def _shifts(rates: LabelRates | None, given: TopAnswers | Given | None, names: Sequence[str]) -> list[LabelShift]:
    """Each label by itself; what all of them together allow is judged later."""
    if rates is None or given is None or isinstance(given, TopAnswers):
        return []
    shifts = []
    for rate in rates.labels:
        now = int(given[:, rate.label].sum())
        table = [[rate.given, rates.texts - rate.given], [now, len(given) - now]]
        p_value = float(fisher_exact(table).pvalue)
        shifts.append(LabelShift(names[rate.label], rate.given / rates.texts, now / len(given), p_value, drifted=False))
    return shifts


def _all_labels(shifts: Sequence[LabelShift], trained: int, new: int) -> Finding:
    """The labels as one comparison: the mean divergence, and Holm's first step, which holds for dependent tests too.

    By chance the divergence of a share is about (1/m + 1/n) / (8 ln 2) bits: to second order it is a chi-squared of one
    degree of freedom times that.
    """
    before, now = (np.array([getattr(shift, side) for shift in shifts]) for side in ("before", "now"))
    apart = [
        float(jensen_shannon(np.array([old, 1 - old]), np.array([new_, 1 - new_])))
        for old, new_ in zip(before.tolist(), now.tolist(), strict=True)
    ]
    return Finding(
        what="labels",
        distance=float(np.mean(apart)),
        by_chance=(1 / trained + 1 / new) / (8 * math.log(2)),
        p_value=min(1.0, len(shifts) * min(shift.p_value for shift in shifts)),
        drifted=False,
        bins=tuple(shift.label for shift in shifts),
        before=tuple(before.tolist()),
        now=tuple(now.tolist()),
    )


def _labels(before: AnswerProfile, now: TopAnswers, names: Sequence[str]) -> _Part:
    """By group of labels; the last bin is that of labels which no training text was given."""
    group_of = {label: number for number, group in enumerate(before.labels) for label in group.labels}
    given = np.array([group_of.get(label, len(before.labels)) for label in now.labels.tolist()])
    bins = (*(" or ".join(names[label] for label in group.labels) for group in before.labels), "any other")
    counts = [*(group.count for group in before.labels), 0]
    return _Part("labels", bins, _shares(counts), before.texts, np.eye(len(counts))[given])


def _binned(what: What, before: Histogram, values: Numbers | Counts) -> _Part:
    edges = [f"{edge:g}" for edge in before.edges]
    bins = (f"below {edges[0]}", *(f"from {edge}" for edge in edges)) if edges else ("all",)
    rows = np.eye(len(before.counts))[np.searchsorted(np.array(before.edges), values, side="right")]
    return _Part(what, bins, _shares(before.counts), sum(before.counts), rows)


def _compare(part: _Part, splits: int, rng: np.random.Generator) -> Finding:
    """Judge one part by itself; whether it has drifted is for all parts together to say."""
    new, now = len(part.rows), part.rows.mean(axis=0)
    distance = float(jensen_shannon(part.before, now))
    small = min(part.trained, new // 2)
    by_chance = between_parts(part.rows, small, splits, rng)
    noise = float(by_chance.mean()) / (1 / small + 1 / (new - small))
    expected = max(noise, part.noise) / part.trained + noise / new
    by_chance *= expected / float(by_chance.mean()) if noise else 1.0
    return Finding(
        what=part.what,
        distance=distance,
        by_chance=float(by_chance.mean()),
        p_value=(1 + int((by_chance >= distance).sum())) / (1 + splits) if part.counts else 1.0,
        drifted=False,
        bins=part.bins,
        before=tuple(part.before.tolist()),
        now=tuple(now.tolist()),
    )


def _holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which of several p-values are below what Holm's step-down procedure allows."""
    alarms = [False] * len(p_values)
    for step, index in enumerate(np.argsort(p_values).tolist()):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        alarms[index] = True
    return alarms


def _accuracy(before: AnswerProfile, now: TopAnswers) -> AccuracyEstimate:
    """The mean confidence now and the mean gap before, as if two more rows had been right and two more wrong.

    The four rows are those of Agresti and Coull (1998): ten rows that are all right do not promise 100 %.
    """
    rows, sure = before.texts + 4, before.confidence
    gap = (before.texts * before.gap + 2 * (1 - sure) - 2 * sure) / rows
    gap_square = (before.texts * before.gap_square + 2 * (1 - sure) ** 2 + 2 * sure**2) / rows
    value = float(now.confidences.mean()) + gap
    half = _Z95 * math.sqrt((gap_square - gap**2) / rows + float(now.confidences.var()) / len(now.confidences))
    value, low, high = (min(1.0, max(0.0, number)) for number in (value, value - half, value + half))
    return AccuracyEstimate(value, low, high, before.right / before.texts)


def _shares(counts: Sequence[int]) -> Numbers:
    numbers = np.array(counts, dtype=float)
    shares: Numbers = numbers / numbers.sum()
    return shares
