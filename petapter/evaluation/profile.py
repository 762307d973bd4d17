"""What the training texts were like, in counts of five texts or more: what `drift` compares later texts with.

Bins follow the training texts: lengths and confidences by quantiles, tokens by runs of hash buckets. What would hold
fewer than LEAST_TEXTS texts is joined with a neighbour, so that a published profile tells nothing of any single text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from petapter.evaluation.divergence import Numbers, noise_of_one
from petapter.task.encoding import Fields
from petapter_schemas.profile import (
    LEAST_TEXTS,
    TOKEN_BUCKETS,
    AnswerProfile,
    Histogram,
    LabelGroup,
    LabelRate,
    LabelRates,
    Profile,
    TokenSketch,
    token_bucket,
)

Counts = NDArray[np.int64]
Given = NDArray[np.bool_]
"""Which labels texts are given, [N, L]."""

_MOST_BINS = 10
_DIGITS = 6
_SPLITS = 200


@dataclass(frozen=True)
class TextFeatures:
    """What of texts is compared.

    Attributes:
        lengths: Tokens of all text fields together, [N].
        tokens: By bucket the share of a text's tokens, [N, TOKEN_BUCKETS]; a row adds up to 1, or to 0 without tokens.
    """

    lengths: Counts
    tokens: Numbers


@dataclass(frozen=True)
class TopAnswers:
    """What a single-label module says of texts.

    Attributes:
        labels: The number of the most probable label, also where the module abstains, [N].
        confidences: Its calibrated probability, [N].
    """

    labels: Counts
    confidences: Numbers


def text_features(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Fields]) -> TextFeatures:
    """Tokenise texts by themselves, without a pattern, and count."""
    bucket = np.array([token_bucket(token) for token in range(len(tokenizer))], dtype=np.int64)
    lengths = np.zeros(len(texts), dtype=np.int64)
    tokens = np.zeros((len(texts), TOKEN_BUCKETS))
    for row, fields in enumerate(texts):
        parts = tokenizer(list(fields.values()), add_special_tokens=False, verbose=False)["input_ids"]
        ids = [token for part in parts for token in part]
        lengths[row] = len(ids)
        if ids:
            tokens[row] = np.bincount(bucket[ids], minlength=TOKEN_BUCKETS) / len(ids)
    return TextFeatures(lengths, tokens)


def make_profile(
    features: TextFeatures,
    answers: TopAnswers | None = None,
    gold: Counts | None = None,
    *,
    given: Given | None = None,
) -> Profile | None:
    """The profile of training texts; None where they are fewer than LEAST_TEXTS.

    Args:
        features: Of all training texts.
        answers: Of those of them that a model answered which had not seen them; None if none did.
        gold: The right labels of these, [N of answers].
        given: Of a multi-label task, which labels such models gave the rows that they had not seen, [N, L].
    """
    if len(features.lengths) < LEAST_TEXTS:
        return None
    told = None
    if answers is not None and gold is not None and len(gold) >= LEAST_TEXTS:
        told = _answer_profile(answers, gold)
    return Profile(
        texts=len(features.lengths),
        lengths=_histogram(features.lengths.astype(float)),
        tokens=_sketch(features.tokens),
        answers=told,
        rates=_label_rates(given) if given is not None and len(given) >= LEAST_TEXTS else None,
    )


def _label_rates(given: Given) -> LabelRates:
    """Labels of which each side holds no text or LEAST_TEXTS and more."""
    texts = len(given)
    rates = [LabelRate(label=label, given=int(count)) for label, count in enumerate(given.sum(axis=0))]
    return LabelRates(
        texts=texts,
        labels=tuple(rate for rate in rates if not _is_few(rate.given) and not _is_few(texts - rate.given)),
    )


def _is_few(count: int) -> bool:
    return 0 < count < LEAST_TEXTS


def _answer_profile(answers: TopAnswers, gold: Counts) -> AnswerProfile:
    right = answers.labels == gold
    gap = right - answers.confidences
    return AnswerProfile(
        texts=len(gold),
        right=int(right.sum()),
        labels=_label_groups(np.bincount(answers.labels)),
        confidences=_histogram(answers.confidences),
        confidence=round(float(answers.confidences.mean()), _DIGITS),
        gap=round(float(gap.mean()), _DIGITS),
        gap_square=round(float((gap**2).mean()), _DIGITS),
    )


def _label_groups(counts: Counts) -> tuple[LabelGroup, ...]:
    """Labels that were given; rare ones together, with the next rarer one where they are still too few."""
    rarest_first = [label for label in np.argsort(counts, kind="stable").tolist() if counts[label]]
    groups: list[list[int]] = [[]]
    for label in rarest_first:
        if counts[groups[-1]].sum() >= LEAST_TEXTS:
            groups.append([])
        groups[-1].append(label)
    if len(groups) > 1 and counts[groups[-1]].sum() < LEAST_TEXTS:
        rest = groups.pop()
        groups[-1].extend(rest)
    return tuple(LabelGroup(labels=tuple(sorted(group)), count=int(counts[group].sum())) for group in groups)


def _histogram(values: Numbers) -> Histogram:
    bins = min(_MOST_BINS, len(values) // LEAST_TEXTS)
    edges = np.unique(np.round(np.quantile(values, np.arange(1, bins) / bins, method="higher"), _DIGITS))
    while len(edges):
        counts = counts_by(values, edges)
        small = np.flatnonzero(counts < LEAST_TEXTS)
        if not len(small):
            break
        edges = np.delete(edges, min(int(small[0]), len(edges) - 1))
    counts = counts_by(values, edges)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def counts_by(values: Numbers, edges: Numbers) -> Counts:
    """How many values lie below the first edge, from each edge on, and from the last one on."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def _sketch(tokens: Numbers) -> TokenSketch:
    """Buckets in their order, joined until a bin stands in LEAST_TEXTS texts; what is left joins the last bin."""
    starts = [0]
    for bucket in range(1, TOKEN_BUCKETS):
        if _texts_with(tokens[:, starts[-1] : bucket]) >= LEAST_TEXTS:
            starts.append(bucket)
    while len(starts) > 1 and _texts_with(tokens[:, starts[-1] :]) < LEAST_TEXTS:
        starts.pop()
    ends = [*starts[1:], TOKEN_BUCKETS]
    texts = [_texts_with(tokens[:, low:high]) for low, high in zip(starts, ends, strict=True)]
    if texts[0] < LEAST_TEXTS:  # hardly any text has a token: one bin, and nothing is said of it
        return TokenSketch(shares=(0.0,), texts=(0,), noise=0.0)
    rows = shares_by(tokens, starts[1:])
    return TokenSketch(
        edges=tuple(starts[1:]),
        shares=tuple(np.round(rows.mean(axis=0), _DIGITS).tolist()),
        texts=tuple(texts),
        noise=round(noise_of_one(rows, _SPLITS, np.random.default_rng(0)), _DIGITS),
    )


def shares_by(tokens: Numbers, edges: Sequence[int]) -> Numbers:
    """Join the buckets of token shares [N, TOKEN_BUCKETS] into bins that begin at 0 and at the edges."""
    return np.add.reduceat(tokens, [0, *edges], axis=1)


def _texts_with(tokens: Numbers) -> int:
    return int((tokens > 0).any(axis=1).sum())
