"""Label words are mined for every fold without its rows, and used by all that is trained without it."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from petapter import Backbone, Example
from petapter.selection import PooledPattern, grouped_folds, pattern_pool
from petapter.tuning import TuneOptions, tune
from petapter.tuning.frozen import FrozenPool
from petapter.tuning.members import Asked, Member, MemberRuns
from petapter.tuning.report import tuning_report
from petapter.tuning.words import FoldWords, mine_in_folds
from petapter_schemas.errors import InputError
from petapter_schemas.task import PatternSpec, TaskSpec
from tests.petapter.conftest import SENTIMENT
from tests.petapter.tuning.test_tuning import ROWS as FEW
from tests.petapter.tuning.test_tuning import TEXTS

ROWS = [*FEW, *(Example({"text": f"{row.fields['text']} in the world"}, row.label) for row in FEW)]
OTHER: Mapping[str | None, str] = {"pos": "neg", "neg": "pos"}
WORDS = {"pos": ["good", "fine"], "neg": ["bad", "no"]}
QUICK = TuneOptions(patterns=2, seeds=1, folds=2, steps=4, student_steps=6, batch_size=4, mine_words=True)


def pool(backbone: Backbone) -> list[PooledPattern]:
    return list(pattern_pool(SENTIMENT, ["en"], backbone).patterns[:3])


@pytest.fixture(scope="module")
def mined(bert: Backbone) -> FoldWords:
    folds = grouped_folds(SENTIMENT, ROWS, 2)
    return mine_in_folds(SENTIMENT, pool(bert), (ROWS, []), folds, bert)


def with_words(words: Mapping[str, list[str]]) -> TaskSpec:
    return TaskSpec.model_validate({**SENTIMENT.model_dump(), "labels": words})


def test_words_mined_for_a_fold_do_not_depend_on_its_labels_nor_on_its_texts(bert: Backbone, mined: FoldWords) -> None:
    folds = grouped_folds(SENTIMENT, ROWS, 2)
    own = set(folds.rows(0))
    turned = [replace(row, label=OTHER[row.label]) if at in own else row for at, row in enumerate(ROWS)]
    said = [Example({"text": "the price of money"}, row.label) if at in own else row for at, row in enumerate(ROWS)]
    for rows in (turned, said):
        again = mine_in_folds(SENTIMENT, pool(bert), (rows, []), folds, bert)
        assert again.by_fold[0] == mined.by_fold[0]
        assert again.by_fold[1] != mined.by_fold[1]
    assert mined.by_fold[0].tried


def test_words_that_are_scored_again_are_those_of_a_pool_that_was_read_with_them(bert: Backbone) -> None:
    task, patterns, rows = with_words(WORDS), pool(bert), (ROWS, TEXTS)
    again = FrozenPool.read(patterns, SENTIMENT, rows, bert).with_words(task, patterns, bert)
    read = FrozenPool.read(patterns, task, rows, bert)
    seen = range(6, len(ROWS))
    one, other = again.ranked(seen, 2), read.ranked(seen, 2)
    assert one.chosen == other.chosen
    assert one.losses == pytest.approx(other.losses, abs=1e-5)
    torch.testing.assert_close(again.says([0, 1], seen), read.says([0, 1], seen), atol=1e-4, rtol=0)


def test_members_start_at_the_words_of_their_fold(bert: Backbone, mined: FoldWords) -> None:
    labels = with_words(WORDS).labels
    first = replace(mined.by_fold[0], task=mined.by_fold[0].task.model_copy(update={"labels": labels}))
    words = FoldWords((first, replace(mined.by_fold[1], task=SENTIMENT)), mined.of_all)
    asked = Asked(SENTIMENT, pool(bert), ROWS, TEXTS, grouped_folds(SENTIMENT, ROWS, 2), words.labels)
    assert asked.task_in(0).labels == labels
    assert asked.task_in(1).labels == SENTIMENT.labels
    options = QUICK.of_members(bert)

    def said(about: Asked) -> dict[Member, Tensor]:
        (found,) = MemberRuns(about, bert, options)([Member(0, 0, 0), Member(1, 0, 0)])
        return found

    with_them, without = said(asked), said(replace(asked, labels=None))
    assert not torch.equal(with_them[Member(0, 0, 0)], without[Member(0, 0, 0)])
    torch.testing.assert_close(with_them[Member(1, 0, 0)], without[Member(1, 0, 0)], atol=1e-5, rtol=0)


def test_what_members_need_is_the_same_after_a_journey_as_json(bert: Backbone, mined: FoldWords) -> None:
    asked = Asked(SENTIMENT, pool(bert), ROWS, TEXTS, grouped_folds(SENTIMENT, ROWS, 2), mined.labels)
    there = TypeAdapter(Asked)
    again = there.validate_json(there.dump_json(asked))
    assert [again.task_in(fold) for fold in (0, 1, None)] == [asked.task_in(fold) for fold in (0, 1, None)]


def test_tuning_tells_of_words_taken_and_rejected_and_ships_those_taken(bert: Backbone) -> None:
    tuned = tune(SENTIMENT, ROWS, bert, pool(bert), QUICK)
    assert tuned.words is not None
    assert tuned.module.task.labels == tuned.words.labels[-1]
    report = tuning_report(tuned)
    assert "## Label words" in report
    assert tuned.words.of_all.tried
    for each in tuned.words.of_all.tried:
        verdict = "taken" if each.is_taken else "rejected"
        assert (
            f"| {each.label} | {each.word} | {each.gain:+.4f} | {each.error:.4f} | {each.judges} | {verdict} |"
            in report
        )
    assert tuned.words.of_all.verdict in report


def test_patterns_of_several_masks_are_refused_in_one_line(bert: Backbone) -> None:
    two = PooledPattern("own 1", PatternSpec(template="{text} {mask} {mask}"), "own", reads_words_alike=True)
    with pytest.raises(InputError, match="mined for patterns of one mask"):
        mine_in_folds(SENTIMENT, [two], (ROWS, []), grouped_folds(SENTIMENT, ROWS, 2), bert)
