"""Further label words: whole words near the label's own, likelier in its rows, taken where rows left out say so."""

from dataclasses import replace

import pytest
import torch

from petapter import Backbone, Example, StrongOptions, train
from petapter.mlm_head import MlmHead, read_mlm_head
from petapter.selection import mine_words
from petapter.selection.word_candidates import Vocabulary, candidate_words, occurring_words, rows_at_mask
from petapter.task import lint_task
from petapter.task.verbalizer import word_ids
from petapter_schemas.errors import BackboneError, InputError, TaskError
from petapter_schemas.task import TaskSpec
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS, TOPIC, TOPIC_ROWS, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES

TEXTS = [row.fields for row in SENTIMENT_ROWS]
BEHIND = TaskSpec.model_validate(
    {**TOPIC.model_dump(), "patterns": ["{title} {body} It was {mask} {mask}.", "{body} {title} is {mask} {mask}"]}
)
"""Masks behind the texts, where words of every tokenizer have their space."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_words_of_a_tokenizer_are_letters_and_read_as_one_token(name: str, backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of(name).tokenizer
    vocabulary = Vocabulary.of(tokenizer)
    whole = {
        vocabulary.words[token]
        for token in range(len(tokenizer))
        if vocabulary.words[token] and vocabulary.is_whole(token, SENTIMENT)
    }
    assert {"market", "price", "good"} <= whole
    for word in whole:
        assert word.isalpha()
        assert len(word) > 1
        assert len(word_ids(word, SENTIMENT.patterns[0], tokenizer)) == 1


def test_pieces_and_words_without_their_space_are_no_words(backbone_of: BackboneOf) -> None:
    for name, piece in (("bert", "##a"), ("roberta", "great"), ("xlm-roberta", "q")):
        tokenizer = backbone_of(name).tokenizer
        token = tokenizer.convert_tokens_to_ids(piece)
        assert token not in (None, tokenizer.unk_token_id), name
        vocabulary = Vocabulary.of(tokenizer)
        assert not vocabulary.words[token] or not vocabulary.is_whole(token, SENTIMENT), name


def random_rows(backbone: Backbone, labels: int = 2) -> tuple[torch.Tensor, torch.Tensor, MlmHead]:
    """What the decoder reads of 40 rows in two patterns, their labels in turn, and the decoder."""
    mlm = read_mlm_head(backbone.model)
    first = torch.randn(2, 40, mlm.feature_size, generator=torch.Generator().manual_seed(0))
    return first, torch.nn.functional.one_hot(torch.arange(40) % labels, labels).float(), mlm


def test_ratios_are_those_of_mean_log_likelihoods(bert: Backbone) -> None:
    first, targets, mlm = random_rows(bert, 3)
    tokens, rows = [3, 8, 20], torch.arange(40) < 25
    found = rows_at_mask(first, targets, mlm, sorted([*tokens, 9])).ratios(1, tokens, rows)
    said = torch.log_softmax(first @ mlm.decoder_weight.T + mlm.decoder_bias, dim=-1).mean(dim=0)[:, tokens]  # [N, 3]
    own = targets[:, 1].bool()
    expected = said[own & rows].mean(dim=0) - said[~own & rows].mean(dim=0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_candidate_is_likelier_in_its_rows_and_no_name_or_word_of_any_label(bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "labels": {"Good game": "great", "market": ["awful"]}})
    found = candidate_words(task, *random_rows(bert), Vocabulary.of(bert.tokenizer), occurring=None, most=100)
    words = [candidate.word for label in found for candidate in label]
    assert len(words) > 5
    assert len(set(words)) == len(words)
    assert set(words).isdisjoint({"good", "game", "great", "market", "awful"})
    assert all(candidate.ratio > 0 for label in found for candidate in label)


def test_rows_judge_only_what_was_found_without_them(bert: Backbone) -> None:
    first, targets, mlm = random_rows(bert)
    vocabulary = Vocabulary.of(bert.tokenizer)

    def find(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        found = candidate_words(SENTIMENT, rows, targets, mlm, vocabulary, occurring=None, most=6)
        return {candidate.word: candidate.judges for label in found for candidate in label}

    half = next(judges for judges in find(first).values() if not bool(judges.all()))
    other = first.clone()
    other[:, half] = torch.randn(2, int(half.sum()), mlm.feature_size, generator=torch.Generator().manual_seed(1))
    alone = [word for word, judges in find(first).items() if bool((judges == half).all())]
    # whatever its judges say, the half that found a word finds it; only its place among six may be another's then
    finders = rows_at_mask(first, targets, mlm, list(range(len(vocabulary.words))))
    again = rows_at_mask(other, targets, mlm, list(range(len(vocabulary.words))))
    tokens = [vocabulary.words.index(word) for word in alone]
    assert tokens
    for label in (0, 1):
        torch.testing.assert_close(finders.ratios(label, tokens, ~half), again.ratios(label, tokens, ~half))


def test_a_label_with_fewer_than_two_rows_to_find_and_two_to_judge_has_no_candidates(bert: Backbone) -> None:
    first, _, mlm = random_rows(bert)
    vocabulary = Vocabulary.of(bert.tokenizer)
    for rows, some in ((3, False), (4, True)):
        targets = torch.nn.functional.one_hot((torch.arange(40) < rows).long(), 2).float()
        found = candidate_words(SENTIMENT, first, targets, mlm, vocabulary, occurring=None, most=5)
        assert bool(found[1]) is some


def test_at_most_so_many_are_candidates_of_a_label_and_only_those_in_the_texts(bert: Backbone) -> None:
    rows, vocabulary = random_rows(bert), Vocabulary.of(bert.tokenizer)
    occurring = occurring_words([{"text": "A goal, a goal!"}, {"text": "the GOAL of a team"}, {"text": "price"}])
    assert (occurring["goal"], occurring["price"]) == (2, 1)
    found = candidate_words(SENTIMENT, *rows, vocabulary, occurring=occurring, most=2)
    assert [candidate.word for label in found for candidate in label] == ["goal"]  # "a" is one letter
    several = candidate_words(SENTIMENT, *rows, vocabulary, occurring=None, most=2)
    assert [len(label) for label in several] == [2, 2]


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "albert", "modernbert"])
def test_words_that_are_taken_make_a_task_that_trains(name: str, backbone_of: BackboneOf) -> None:
    backbone = backbone_of(name)
    mined = mine_words(BEHIND, TOPIC_ROWS * 3, backbone, unlabelled=[row.fields for row in TOPIC_ROWS] * 2)
    assert [label.words[: len(own.words)] for label, own in zip(mined.task.labels, BEHIND.labels, strict=True)] == [
        own.words for own in BEHIND.labels
    ]
    added = sum(len(label.words) for label in mined.task.labels) - sum(len(own.words) for own in BEHIND.labels)
    assert added == len(mined.taken)
    errors = [f for f in lint_task(mined.task, backbone.tokenizer, backbone.max_tokens) if f.severity == "error"]
    assert errors == []


def test_losses_are_those_of_preset_strong_without_and_with_the_words(bert: Backbone) -> None:
    rows = SENTIMENT_ROWS * 2
    mined = mine_words(SENTIMENT, rows, bert, unlabelled=TEXTS * 2, most=2)
    assert mined.tried
    for task, loss in ((SENTIMENT, mined.loss_before), (mined.task, mined.loss_after)):
        module = train(task, rows, bert, StrongOptions(delta="never"), unlabelled=TEXTS * 2)
        assert module.training.hyperparameters["left_out_loss"] == pytest.approx(loss, abs=1e-5)


def test_a_word_is_taken_for_more_than_one_standard_error_alone(bert: Backbone) -> None:
    mined = mine_words(SENTIMENT, SENTIMENT_ROWS * 2, bert)
    for each in mined.tried:
        assert each.is_taken == (each.gain > each.error)
        assert each.ratio > 0
    some = replace(mined.tried[0], gain=0.1, error=0.1)
    assert not some.is_taken
    assert replace(some, gain=0.11).is_taken


def test_how_many_were_tried_and_would_be_taken_by_chance_is_told(bert: Backbone) -> None:
    told: list[tuple[int, int]] = []
    mined = mine_words(SENTIMENT, SENTIMENT_ROWS * 2, bert, on_word=lambda *done: told.append(done))
    count = len(mined.tried)
    assert told == [(number, count) for number in range(1, count + 1)]
    assert mined.verdict.startswith(f"of {count} words tried on 12 rows {len(mined.taken)} were taken: ")
    assert mined.verdict.endswith(f"{0.16 * count:.1f} would be taken by chance")


def test_a_label_without_rows_gets_no_words(bert: Backbone) -> None:
    labels = {**{label.name: list(label.words) for label in SENTIMENT.labels}, "none": "maybe"}
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "labels": labels})
    tried = mine_words(task, SENTIMENT_ROWS * 2, bert).tried
    assert {each.label for each in tried} == {"pos", "neg"}


def test_several_labels_a_row_are_mined_too(bert: Backbone) -> None:
    task = TaskSpec.model_validate({**SENTIMENT.model_dump(), "type": "multi-label"})
    rows = [Example(row.fields, labels=(row.label,)) for row in SENTIMENT_ROWS * 2]
    assert mine_words(task, rows, bert).rows == len(rows)


def test_no_words_leave_the_very_task(bert: Backbone) -> None:
    mined = mine_words(SENTIMENT, SENTIMENT_ROWS * 2, bert, most=0)
    assert mined.task is SENTIMENT
    assert "no word was tried" in mined.verdict
    assert mined.loss_after == mined.loss_before


def test_what_cannot_be_mined_is_one_line(bert: Backbone, backbone_of: BackboneOf) -> None:
    with pytest.raises(InputError, match="8 to 2000 labelled rows, not 6"):
        mine_words(SENTIMENT, SENTIMENT_ROWS, bert)
    with pytest.raises(BackboneError, match="names no words"):
        mine_words(SENTIMENT, SENTIMENT_ROWS * 2, backbone_of("encoder"))
    with pytest.raises(TaskError, match="all 9 rows have the label"):
        mine_words(SENTIMENT, SENTIMENT_ROWS[:3] * 3, bert)
