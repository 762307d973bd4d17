import pytest

from petapter.task import task_from_options
from petapter.task.verbalizer import Verbalizer, read_verbalizer
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES


def tokens(backbone_of: BackboneOf, family: str, pattern: str, word: str) -> list[str]:
    """The tokens of a word in a pattern."""
    tokenizer = backbone_of(family).tokenizer
    task = task_from_options([pattern], [f"a={word}", "b=x"])
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in read_verbalizer(task, tokenizer).ids[0][0]]


def test_byte_level_word_after_a_space_is_the_token_with_the_space(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "roberta", "{text} It was {mask}.", "great") == ["\u0120great"]


def test_byte_level_word_at_the_start_is_the_token_without_a_space(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "roberta", "{mask} news: {text}", "great") == ["great"]


def test_byte_level_word_behind_a_bracket_is_the_token_without_a_space(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "roberta", "{text} ({mask})", "great") == ["great"]


def test_metaspace_word_after_a_space_is_the_token_that_begins_a_word(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "xlm-roberta", "{text} It was {mask}.", "great") == ["\u2581great"]


def test_metaspace_word_at_the_start_is_the_token_that_begins_a_word(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "xlm-roberta", "{mask} news: {text}", "great") == ["\u2581great"]


def test_word_piece_word_is_lowered_as_the_tokenizer_does(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "bert", "{text} It was {mask}.", "Great") == ["great"]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_words_are_all_their_tokens_in_order(backbone_of: BackboneOf, family: str) -> None:
    read = tokens(backbone_of, family, "{text} It was {mask} {mask}.", "great news")
    assert [token.lstrip("\u0120\u2581") for token in read] == ["great", "news"]


def test_word_is_not_changed_by_what_follows_the_mask(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "bert", "{text} {mask}ful!", "great") == ["great"]


@pytest.mark.parametrize(
    "template", ["{mask}{mask} news: {text}", "{mask} {mask} {mask}: {text}", "{mask} or {mask} {text}"]
)
def test_word_stands_at_the_first_of_several_masks(backbone_of: BackboneOf, template: str) -> None:
    assert tokens(backbone_of, "roberta", template, "great news") == ["great", "\u0120news"]


def test_word_with_an_apostrophe_keeps_its_tokens(backbone_of: BackboneOf) -> None:
    assert tokens(backbone_of, "bert", "{text} {mask}{mask}{mask}", "it's") == ["it", "'", "s"]


def test_ids_are_those_of_the_sentence_with_the_word_in_place(backbone_of: BackboneOf) -> None:
    # reference: transformers' tokenizer on the whole sentence, the words of the pattern taken off
    tokenizer = backbone_of("roberta").tokenizer
    task = task_from_options(["{text} It was {mask}."], ["a=great news", "b=awful"])
    sentence, rest = (tokenizer(f"good It was{word}.")["input_ids"] for word in (" great news", ""))
    assert read_verbalizer(task, tokenizer).ids[0][0] == tuple(sentence[len(rest) - 2 : -2])


def test_rows_are_the_distinct_ids_in_ascending_order() -> None:
    assert Verbalizer((((7, 3), (5,)), ((3,),))).row_token_ids == (3, 5, 7)


def test_longest_counts_the_tokens_of_the_longest_word() -> None:
    assert Verbalizer((((7, 3), (5,)), ((3,),))).longest == 2
