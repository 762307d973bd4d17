import pytest

from petapter import Backbone
from petapter.task import lint_task, task_from_options
from petapter.task.verbalizer import Verbalizer, cut_words, read_verbalizer
from petapter_schemas.task import TaskSpec
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


def quirky(patterns: list[str], labels: list[str], **tokenization: str) -> TaskSpec:
    plain = task_from_options(patterns, labels)
    return TaskSpec.model_validate({**plain.model_dump(), "tokenization": tokenization})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("word", ["great", "great news", "x-ray", "Sciene"])
def test_bare_word_is_read_by_itself(backbone_of: BackboneOf, family: str, word: str) -> None:
    # reference: transformers' tokenizer on the word alone
    tokenizer = backbone_of(family).tokenizer
    task = quirky(["{text} It was {mask}{mask}."], [f"a={word}", "b=x"], words="bare")
    assert read_verbalizer(task, tokenizer).ids[0][0] == tuple(tokenizer.encode(word, add_special_tokens=False))


def test_bare_byte_level_word_lacks_the_space_of_the_pattern(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    task = quirky(["{text} It was {mask}."], ["a=great", "b=bad"], words="bare")
    assert tokenizer.convert_ids_to_tokens(list(read_verbalizer(task, tokenizer).ids[0][0])) == ["great"]


@pytest.mark.parametrize("masks", [1, 2, 3])
def test_long_word_is_cut_to_the_masks_where_the_task_says_so(backbone_of: BackboneOf, masks: int) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    task = quirky(["{mask}" * masks + "{text}"], ["a=great news", "b=bad"], words="bare", long_words="cut")
    read = tokenizer.convert_ids_to_tokens(list(read_verbalizer(task, tokenizer).ids[0][0]))
    assert read == ["great", "\u0120news"][:masks]


def test_words_are_cut_to_the_fewest_masks_of_any_pattern(bert: Backbone) -> None:
    task = quirky(["{mask} {mask} {text}", "{text} {mask}"], ["a=great news", "b=bad"], long_words="cut")
    assert [len(word) for label in read_verbalizer(task, bert.tokenizer).ids for word in label] == [1, 1]


def test_cut_words_are_named(bert: Backbone) -> None:
    task = quirky(["{text} {mask}"], ["a=great news,fine", "b=bad,no price at all"], long_words="cut")
    assert cut_words(task, bert.tokenizer) == ["great news", "no price at all"]
    warnings = [item.message for item in lint_task(task, bert.tokenizer, 64) if item.severity == "warning"]
    assert len(warnings) == 1
    assert "'great news', 'no price at all': more tokens than masks, so all but the first 1 are cut off" in warnings[0]


def test_no_word_is_cut_by_default(bert: Backbone) -> None:
    task = task_from_options(["{text} {mask}"], ["a=great news", "b=bad"])
    assert not cut_words(task, bert.tokenizer)
    assert len(read_verbalizer(task, bert.tokenizer).ids[0][0]) == 2


def test_words_that_only_the_cut_makes_equal_are_an_error(bert: Backbone) -> None:
    task = quirky(["{text} {mask}"], ["a=great news", "b=great team"], long_words="cut")
    errors = [item.message for item in lint_task(task, bert.tokenizer, 64) if item.severity == "error"]
    assert len(errors) == 1
    assert "words 'great news' of label 'a' and 'great team' of label 'b' are the same tokens" in errors[0]


def test_bare_words_read_alike_in_every_pattern(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    patterns, labels = ["{text} It was {mask}.", "{mask}: {text}"], ["a=great", "b=world"]
    assert len(lint_task(task_from_options(patterns, labels), tokenizer, 64)) == 2
    assert not lint_task(quirky(patterns, labels, words="bare"), tokenizer, 64)
