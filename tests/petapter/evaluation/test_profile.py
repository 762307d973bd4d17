import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petapter.evaluation.profile import (
    TextFeatures,
    TopAnswers,
    counts_by,
    make_profile,
    shares_by,
    text_features,
)
from petapter_schemas.profile import LEAST_TEXTS, TOKEN_BUCKETS, token_bucket
from tests.petapter.conftest import BackboneOf


def features(lengths: list[int], seed: int = 0) -> TextFeatures:
    """Texts of so many tokens, each token in a bucket by chance."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((len(lengths), TOKEN_BUCKETS))
    for row, length in enumerate(lengths):
        for bucket in rng.integers(TOKEN_BUCKETS, size=length):
            tokens[row, bucket] += 1 / length
    return TextFeatures(np.array(lengths), tokens)


def test_fields_are_tokenised_without_pattern_and_special_tokens(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("bert").tokenizer
    made = text_features(tokenizer, [{"title": "the match", "body": "a goal"}, {"title": "", "body": ""}])
    ids = [
        *tokenizer.encode("the match", add_special_tokens=False),
        *tokenizer.encode("a goal", add_special_tokens=False),
    ]
    assert made.lengths.tolist() == [len(ids), 0]
    assert made.tokens[0].sum() == pytest.approx(1)
    assert made.tokens[0, token_bucket(ids[0])] >= 1 / len(ids)
    assert not made.tokens[1].any()


def test_few_texts_have_no_profile() -> None:
    assert make_profile(features([3] * (LEAST_TEXTS - 1))) is None


def test_bins_hold_what_they_say() -> None:
    lengths = list(range(1, 101))
    made = features(lengths)
    profile = make_profile(made)
    assert profile is not None
    assert profile.lengths.counts == (10,) * 10
    assert profile.lengths.counts == tuple(counts_by(made.lengths.astype(float), np.array(profile.lengths.edges)))
    binned = shares_by(made.tokens, profile.tokens.edges)
    assert profile.tokens.shares == pytest.approx(binned.mean(axis=0), abs=1e-6)
    assert profile.tokens.texts == tuple((binned > 0).sum(axis=0).tolist())
    assert sum(profile.tokens.shares) == pytest.approx(1, abs=1e-4)


def test_answers_are_summed_up() -> None:
    gold = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2])
    said = TopAnswers(np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2]), np.array([0.9] * 5 + [0.5] * 5))
    profile = make_profile(features([4] * 10), said, gold)
    assert profile is not None
    answers = profile.answers
    assert answers is not None
    assert (answers.texts, answers.right) == (10, 9)
    assert [(group.labels, group.count) for group in answers.labels] == [((0, 1, 2), 10)]  # 1 and 3 texts are too few
    assert answers.confidence == pytest.approx(0.7)
    assert answers.gap == pytest.approx(0.2)
    assert answers.gap_square == pytest.approx((5 * 0.1**2 + 4 * 0.5**2 + 0.5**2) / 10)


def test_labels_that_were_never_given_are_in_no_group() -> None:
    said = TopAnswers(np.array([3] * 6 + [1] * 7), np.full(13, 0.6))
    profile = make_profile(features([4] * 13), said, np.array([3] * 13))
    assert profile is not None
    assert profile.answers is not None
    assert [(group.labels, group.count) for group in profile.answers.labels] == [((3,), 6), ((1,), 7)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_bin_tells_of_fewer_than_five_texts(data: st.DataObject) -> None:
    count = data.draw(st.integers(LEAST_TEXTS, 60))
    lengths = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    labels = data.draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    sure = data.draw(st.lists(st.floats(0.1, 1), min_size=count, max_size=count))
    profile = make_profile(features(lengths), TopAnswers(np.array(labels), np.array(sure)), np.zeros(count, dtype=int))
    assert profile is not None  # pydantic has refused bins of 1 to 4 texts
    assert profile.answers is not None
    assert sum(profile.lengths.counts) == sum(profile.answers.confidences.counts) == count
    assert {label for group in profile.answers.labels for label in group.labels} == set(labels)
