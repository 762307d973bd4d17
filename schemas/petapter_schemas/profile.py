"""profile.json: what the training texts were like, in counts of many, so that texts of a later day can be compared.

Every number is about five texts or more, or about none: bins that held fewer were joined with a neighbour before they
were written, so that nothing here tells what a single text says.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from petapter_schemas.adapter_spec import Count
from petapter_schemas.documents import parse_document
from petapter_schemas.frozen import Frozen

PROFILE_FILE = "profile.json"
LEAST_TEXTS = 5
"""Fewer texts than this are never counted by themselves."""
TOKEN_BUCKETS = 256
_HASH_FACTOR = 2_654_435_761  # 2^32 divided by the golden ratio: Knuth, The Art of Computer Programming 3, section 6.4

Share = Annotated[float, Field(ge=0, le=1)]


class Histogram(Frozen):
    """Texts by a number: the first count is of those below the first edge, each further one of those from it on."""

    edges: Annotated[tuple[float, ...], Field(max_length=64)] = ()
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _one_bin_more_than_edges(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("a histogram has one count more than edges")
        _check_ascending(self.edges)
        if any(0 < count < LEAST_TEXTS for count in self.counts):
            raise ValueError(f"a bin must hold no text or {LEAST_TEXTS} and more")
        return self


class TokenSketch(Frozen):
    """Which tokens texts are made of, by buckets of many tokens each (`token_bucket`).

    `edges` are the first buckets of all bins but the first, `shares` how much of a text the tokens of a bin are, on
    average over the texts, and `texts` in how many texts there is one. `noise` tells how far the shares of two samples
    are apart by chance: the Jensen-Shannon divergence of samples of m and n texts, in bits, is on average
    `noise` · (1/m + 1/n).
    """

    edges: Annotated[tuple[Annotated[int, Field(ge=1, lt=TOKEN_BUCKETS)], ...], Field(max_length=TOKEN_BUCKETS)] = ()
    shares: tuple[Share, ...]
    texts: tuple[Count, ...]
    noise: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _bins_fit(self) -> Self:
        if not len(self.shares) == len(self.texts) == len(self.edges) + 1:
            raise ValueError("a token sketch has one share and one number of texts more than edges")
        _check_ascending(self.edges)
        if any(0 < count < LEAST_TEXTS for count in self.texts):
            raise ValueError(f"a bin must stand in no text or in {LEAST_TEXTS} and more")
        return self


class LabelGroup(Frozen):
    """Labels, by their numbers, and how many texts were given one of them."""

    labels: Annotated[tuple[Count, ...], Field(min_length=1)]
    count: Count


class AnswerProfile(Frozen):
    """What was said of training rows, each by a model that had not seen it; calibrated, single-label tasks alone.

    `confidence` is the mean of the highest probability, `gap` the mean of (right - that probability) with right being 1
    or 0, and `gap_square` the mean of its square.
    """

    texts: Annotated[int, Field(ge=LEAST_TEXTS)]
    right: Count
    labels: Annotated[tuple[LabelGroup, ...], Field(min_length=1)]
    confidences: Histogram
    confidence: Share
    gap: Annotated[float, Field(ge=-1, le=1)]
    gap_square: Share

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if sum(group.count for group in self.labels) != self.texts or sum(self.confidences.counts) != self.texts:
            raise ValueError("labels and confidences must count every text once")
        if self.right > self.texts:
            raise ValueError("more answers are right than there are")
        if any(0 < group.count < LEAST_TEXTS for group in self.labels):
            raise ValueError(f"a group of labels must have no text or {LEAST_TEXTS} and more")
        named = [label for group in self.labels for label in group.labels]
        if len(set(named)) < len(named):
            raise ValueError("a label may stand in one group only")
        return self


class LabelRate(Frozen):
    """How many texts were given a label, by its number."""

    label: Count
    given: Count


class LabelRates(Frozen):
    """Which labels training rows were given, each by a model that had not seen it; multi-label tasks alone.

    A label that fewer than LEAST_TEXTS were given, but one, or all but so few, is left out.
    """

    texts: Annotated[int, Field(ge=LEAST_TEXTS)]
    labels: tuple[LabelRate, ...]

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        for rate in self.labels:
            if any(count < 0 or 0 < count < LEAST_TEXTS for count in (rate.given, self.texts - rate.given)):
                raise ValueError(f"a label must be given to no text, to all, or to {LEAST_TEXTS} and more but so many")
        _check_ascending([rate.label for rate in self.labels])
        return self


class Profile(Frozen):
    """The whole file. Lengths are tokens of all text fields together, without pattern and special tokens."""

    schema_version: Literal[1] = 1  # written always; `parse_profile` refuses a profile without it
    texts: Annotated[int, Field(ge=LEAST_TEXTS)]
    lengths: Histogram
    tokens: TokenSketch
    answers: AnswerProfile | None = None
    rates: LabelRates | None = None

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if sum(self.lengths.counts) != self.texts or max(self.tokens.texts) > self.texts:
            raise ValueError("lengths must count every text once, and no token can be in more texts than there are")
        return self


def _check_ascending(edges: Sequence[float]) -> None:
    if any(low >= high for low, high in pairwise(edges)):
        raise ValueError("edges must ascend")


def token_bucket(token_id: int) -> int:
    """The bucket of a token, 0 to TOKEN_BUCKETS - 1: the top bits of a multiplicative hash of its number."""
    return (token_id * _HASH_FACTOR & 0xFFFFFFFF) * TOKEN_BUCKETS >> 32


def profile_bytes(profile: Profile) -> bytes:
    """The file of a profile; `rates` stands in it only where there are some, as readers of before know none."""
    left_out = {"rates"} if profile.rates is None else None
    return profile.model_dump_json(indent=None, exclude=left_out).encode() + b"\n"


def parse_profile(data: bytes) -> Profile:
    """Read profile.json.

    Raises:
        ManifestError: The bytes break the format.
    """
    return parse_document(Profile, data, source=PROFILE_FILE, what="profile")
