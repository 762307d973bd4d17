from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from petapter.task.encoding import EncodedText, Encoder
from petapter_schemas.errors import TaskError
from petapter_schemas.task import PatternSpec, TokenizationSpec
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES, bert_tokenizer
from tests.petapter.training.paper_reference import read_as_in_the_paper

APART = TokenizationSpec(texts="apart")
TEMPLATES = [
    "{mask} News: {text}",
    "{text} It was {mask}.",
    "{text}{mask}",
    "({text}) is {mask} {mask} of the world",
    'the {mask}{mask} topic: "{text}" question  ?',
]  # the forms of the paper's patterns, and the text between characters of all kinds
TEXTS = [
    "great match",
    " great match",
    "a",
    "",
    "It's the market, of money\n\nand price!",
    "\u00e9t\u00e9 \u4e2d\u6587",
]


def encode(tokenizer: PreTrainedTokenizerBase, template: str, texts: Sequence[str], tokens: int) -> list[EncodedText]:
    return Encoder(tokenizer, PatternSpec(template=template), tokens, APART).encode([{"text": text} for text in texts])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("tokens", [512, 28])
def test_ids_and_masks_are_those_of_the_papers_way(
    backbone_of: BackboneOf, family: str, template: str, tokens: int
) -> None:
    tokenizer = backbone_of(family).tokenizer
    for text, item in zip(TEXTS, encode(tokenizer, template, TEXTS, tokens), strict=True):
        read = (list(item.input_ids), list(item.mask_positions), item.lost_tokens)
        assert read == read_as_in_the_paper(tokenizer, template, text, tokens)


@given(text=st.text(max_size=30), template=st.sampled_from(TEMPLATES), tokens=st.integers(28, 50))
@settings(max_examples=60, deadline=None)
def test_any_text_reads_as_in_the_papers_way(backbone_of: BackboneOf, text: str, template: str, tokens: int) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    if not any(token in text for token in tokenizer.all_special_tokens):
        (item,) = encode(tokenizer, template, [text], tokens)
        read = (list(item.input_ids), list(item.mask_positions), item.lost_tokens)
        assert read == read_as_in_the_paper(tokenizer, template, text, tokens)


def test_byte_level_text_begins_without_the_space_which_is_a_token_of_the_pattern(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    (apart,) = encode(tokenizer, "{mask} : {text}", ["great"], 64)
    (together,) = Encoder(tokenizer, PatternSpec(template="{mask} : {text}"), 64).encode([{"text": "great"}])
    assert tokenizer.convert_ids_to_tokens(list(apart.input_ids))[-3:] == ["\u0120", "great", "</s>"]
    assert tokenizer.convert_ids_to_tokens(list(together.input_ids))[-2:] == ["\u0120great", "</s>"]


def test_mask_spelled_in_a_text_is_no_mask(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    (item,) = encode(tokenizer, "{text} It was {mask}.", ["the <mask> was <mask> great"], 64)
    assert [i for i, token in enumerate(item.input_ids) if token == tokenizer.mask_token_id] == [*item.mask_positions]


def test_padding_token_spelled_in_a_text_marks_nothing(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    (item,) = encode(tokenizer, "{text} It was {mask}.", ["a <pad> of <pad>"], 64)
    assert tokenizer.pad_token_id not in item.input_ids


def test_every_field_stands_in_its_own_place(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("bert").tokenizer
    pattern = PatternSpec(template="{b} it {a} was {b} {mask}")
    (item,) = Encoder(tokenizer, pattern, 64, APART).encode([{"a": "great", "b": "bad news"}])
    assert tokenizer.decode(list(item.input_ids)) == "[CLS] bad news it great was bad news [MASK] [SEP]"


def test_other_ends_of_a_text_can_be_kept(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("bert").tokenizer
    pattern = PatternSpec(template="{text} {mask}", keep="tail")
    (item,) = Encoder(tokenizer, pattern, 5, APART).encode([{"text": "great bad news"}])
    assert tokenizer.decode(list(item.input_ids)) == "[CLS] bad news [MASK] [SEP]"
    assert item.lost_tokens == 1


def test_pattern_that_leaves_no_room_is_refused(backbone_of: BackboneOf) -> None:
    with pytest.raises(TaskError, match="alone fills the 5 tokens: shorten it"):
        encode(backbone_of("bert").tokenizer, "{text} it was {mask}", ["great"], 5)


def test_pattern_that_spells_out_the_padding_token_is_refused(backbone_of: BackboneOf) -> None:
    with pytest.raises(TaskError, match="spells out '\\[PAD\\]', which marks the place of a text: drop it"):
        encode(backbone_of("bert").tokenizer, "[PAD] {text} {mask}", ["great"], 64)


def test_tokenizer_without_a_padding_token_is_refused() -> None:
    tokenizer = bert_tokenizer()
    tokenizer.pad_token = cast("str", None)
    with pytest.raises(TaskError, match="no padding token to mark where a text belongs: read texts in the pattern"):
        encode(tokenizer, "{text} {mask}", ["great"], 64)


def test_texts_are_read_in_the_pattern_unless_the_task_says_otherwise(backbone_of: BackboneOf) -> None:
    tokenizer = backbone_of("roberta").tokenizer
    pattern = PatternSpec(template="{mask} : {text}")
    (plain,) = Encoder(tokenizer, pattern, 64).encode([{"text": "great"}])
    assert plain.input_ids == tuple(tokenizer(f"{tokenizer.mask_token} : great")["input_ids"])
