"""Texts that are nearly the same share a fold, labels are spread, and too few texts make fewer folds."""

from collections import Counter

import pytest

from petapter import Example
from petapter.selection import grouped_folds
from petapter_schemas.errors import InputError
from tests.petapter.conftest import SENTIMENT

ALMOST = [
    "the match was a very good game for the whole team and for all of the world",
    "The match was a very good game, for the whole team and for all of the world!",
    "the match was a very good game for the whole team and for all of the world too",
]


def rows(texts: list[str], labels: list[str]) -> list[Example]:
    return [Example({"text": text}, label) for text, label in zip(texts, labels, strict=True)]


def different(count: int, label: str) -> list[Example]:
    return [
        Example({"text": f"{label} text number {number} about topic {number * 7}"}, label) for number in range(count)
    ]


def test_labels_are_spread_over_the_folds() -> None:
    examples = different(10, "pos") + different(5, "neg")
    folds = grouped_folds(SENTIMENT, examples, 5)
    spread = Counter((folds.fold_of[row], example.label) for row, example in enumerate(examples))
    assert spread == {(fold, label): count for fold in range(5) for label, count in (("pos", 2), ("neg", 1))}
    assert sorted(row for fold in range(5) for row in folds.rows(fold)) == list(range(15))
    assert folds.notes == ()


def test_texts_that_are_nearly_the_same_share_a_fold() -> None:
    examples = rows(ALMOST, ["pos"] * 3) + different(6, "pos") + different(6, "neg")
    folds = grouped_folds(SENTIMENT, examples, 3)
    assert len(set(folds.fold_of[:3])) == 1
    assert folds.near_duplicates == 3
    assert "3 rows are nearly the same as others" in folds.notes[0]


def test_the_same_text_with_two_labels_shares_a_fold() -> None:
    examples = rows(["yes", "yes"], ["pos", "neg"]) + different(4, "pos") + different(4, "neg")
    assert len(set(grouped_folds(SENTIMENT, examples, 4).fold_of[:2])) == 1


def test_a_label_with_few_different_texts_makes_fewer_folds() -> None:
    examples = different(9, "pos") + different(3, "neg")
    folds = grouped_folds(SENTIMENT, examples, 5)
    assert folds.count == 3
    assert "3 folds instead of 5" in folds.notes[0]
    assert {folds.fold_of[row] for row in range(9, 12)} == {0, 1, 2}


def test_a_label_with_one_text_is_refused() -> None:
    with pytest.raises(InputError, match="label 'neg' has one text, which no fold can spare"):
        grouped_folds(SENTIMENT, different(9, "pos") + rows(ALMOST, ["neg"] * 3), 5)


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match="two folds or more"):
        grouped_folds(SENTIMENT, different(3, "pos") + different(3, "neg"), 1)


def test_the_folds_do_not_depend_on_chance() -> None:
    examples = different(7, "pos") + different(6, "neg")
    assert grouped_folds(SENTIMENT, examples, 4) == grouped_folds(SENTIMENT, examples, 4)
