import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from petapter import Backbone
from petapter.task.encoding import EncodedText, Encoder, pad_batch
from petapter_schemas.errors import TaskError
from petapter_schemas.task import PatternSpec
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES

UNBOUNDED = 100_000
FIVE = "great good fine bad awful"  # one token a word in every family but for byte pairs
PIECES = [
    "great",
    "Match",
    " ",
    "  ",
    "\n\n",
    "\t",
    "\u00e9",
    "e\u0301",
    "\u4e2d\u6587",
    "\U0001f600",
    "\ufdfa",
    "\u00bd",
    ".",
]
SPELLED = ["[MASK]", "<mask>", "[SEP]", "</s>", "<s>", "[CLS]", "<pad>", "[PAD]", "<<mask>mask>", "[[MASK]"]
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from([*PIECES, *SPELLED]), max_size=25).map("".join))


def encoder(backbone: Backbone, template: str, max_tokens: int = UNBOUNDED, *, keep: str = "head") -> Encoder:
    pattern = PatternSpec.model_validate({"template": template, "keep": keep})
    return Encoder(backbone.tokenizer, pattern, max_tokens)


def encode(encoder: Encoder, **fields: str) -> EncodedText:
    return encoder.encode([fields])[0]


def shown(encoder: Encoder, encoded: EncodedText) -> list[str]:
    return [str(token) for token in encoder.tokenizer.convert_ids_to_tokens(list(encoded.input_ids))]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "template",
    ["{text} It was {mask}.", "{mask} news: {text}", "{mask}{text}", "{text}\n{mask}", "{mask} {mask}: {text}"],
)
def test_mask_positions_hold_the_mask_in_every_family(backbone_of: BackboneOf, family: str, template: str) -> None:
    coder = encoder(backbone_of(family), template)
    encoded = encode(coder, text="the match was good")
    assert [i for i, token in enumerate(encoded.input_ids) if token == coder.tokenizer.mask_token_id] == list(
        encoded.mask_positions
    )
    assert len(encoded.mask_positions) == coder.pattern.masks


@pytest.mark.parametrize("family", FAMILIES)
def test_sentence_is_encoded_as_the_tokenizer_itself_does(backbone_of: BackboneOf, family: str) -> None:
    coder = encoder(backbone_of(family), "{text} It was {mask}.")
    reference = coder.tokenizer(f"the match was good It was {coder.tokenizer.mask_token}.")["input_ids"]
    assert list(encode(coder, text="the match was good").input_ids) == reference


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_spelled_out_in_a_text_are_just_characters(backbone_of: BackboneOf, family: str) -> None:
    coder = encoder(backbone_of(family), "{mask} news: {text}")
    specials = [token for token in coder.tokenizer.all_special_tokens if "unk" not in token.lower()]
    plain = encode(coder, text="a").input_ids
    spelled = encode(coder, text=" ".join(specials)).input_ids
    own = set(coder.tokenizer.all_special_ids) - {coder.tokenizer.unk_token_id}
    assert [token for token in spelled if token in own] == [token for token in plain if token in own]


def test_mask_spelled_in_the_text_before_the_pattern_does_not_move_the_position(bert: Backbone) -> None:
    coder = encoder(bert, "{text} It was {mask}.")
    encoded = encode(coder, text="[MASK] and [MASK]")
    assert shown(coder, encoded)[encoded.mask_positions[0] - 1] == "was"


def test_separator_in_a_pattern_is_the_separator(backbone_of: BackboneOf) -> None:
    coder = encoder(backbone_of("roberta"), "{text}</s>It was {mask}.")
    assert encode(coder, text="good").input_ids.count(coder.tokenizer.sep_token_id) == 2


@given(text=TEXTS, room=st.integers(1, 12), keep=st.sampled_from(["head", "tail"]), family=st.sampled_from(FAMILIES))
@settings(max_examples=150, deadline=None)
def test_truncation_never_cuts_pattern_or_mask_and_counts_what_it_loses(
    backbone_of: BackboneOf, text: str, room: int, keep: str, family: str
) -> None:
    coder = encoder(backbone_of(family), "{text} It was {mask}.", keep=keep)
    pattern = encode(coder, text="").input_ids
    whole = encode(coder, text=text)
    cut = encode(replace(coder, max_tokens=len(pattern) + room), text=text)
    assert len(cut.input_ids) <= len(pattern) + room
    assert cut.lost_tokens == len(whole.input_ids) - len(cut.input_ids)
    assert cut.lost_tokens == max(0, len(whole.input_ids) - len(pattern) - room)
    assert cut.input_ids[0] == whole.input_ids[0]
    assert cut.input_ids[1 - len(pattern) :] == whole.input_ids[1 - len(pattern) :]
    assert cut.input_ids.count(coder.tokenizer.mask_token_id) == 1
    assert cut.input_ids[cut.mask_positions[0]] == coder.tokenizer.mask_token_id


@given(title=TEXTS, body=TEXTS, room=st.integers(2, 12), family=st.sampled_from(FAMILIES))
@settings(max_examples=100, deadline=None)
def test_two_fields_share_the_room_that_the_pattern_leaves(
    backbone_of: BackboneOf, title: str, body: str, room: int, family: str
) -> None:
    coder = encoder(backbone_of(family), "{title} is {mask} news of {mask}: {body}")
    pattern = encode(coder, title="", body="").input_ids
    whole = encode(coder, title=title, body=body)
    cut = encode(replace(coder, max_tokens=len(pattern) + room), title=title, body=body)
    assert cut.lost_tokens == max(0, len(whole.input_ids) - len(pattern) - room)
    assert [cut.input_ids[i] for i in cut.mask_positions] == [coder.tokenizer.mask_token_id] * 2


@pytest.mark.parametrize(("keep", "kept"), [("head", ["great", "good"]), ("tail", ["bad", "awful"])])
def test_the_named_end_of_the_text_survives(bert: Backbone, keep: str, kept: list[str]) -> None:
    coder = encoder(bert, "{text} it was {mask}.", max_tokens=8, keep=keep)
    encoded = encode(coder, text=FIVE)
    assert shown(coder, encoded) == ["[CLS]", *kept, "it", "was", "[MASK]", ".", "[SEP]"]
    assert encoded.lost_tokens == 3


def test_text_that_just_fits_loses_nothing(bert: Backbone) -> None:
    assert encode(encoder(bert, "{text} it was {mask}.", max_tokens=11), text=FIVE).lost_tokens == 0


def test_longest_field_gives_way_first(bert: Backbone) -> None:
    coder = encoder(bert, "{a} {mask} {b}", max_tokens=8)
    assert shown(coder, encode(coder, a="news", b=FIVE)) == ["[CLS]", "news", "[MASK]", *FIVE.split()[:4], "[SEP]"]


def test_fields_of_equal_length_share_evenly(bert: Backbone) -> None:
    coder = encoder(bert, "{a} {mask} {b}", max_tokens=7)
    encoded = encode(coder, a=FIVE, b=FIVE)
    assert shown(coder, encoded) == ["[CLS]", "great", "good", "[MASK]", "great", "good", "[SEP]"]
    assert encoded.lost_tokens == 6


def test_field_may_occur_twice_in_a_pattern(bert: Backbone) -> None:
    coder = encoder(bert, "{text} {mask} {text}")
    assert shown(coder, encode(coder, text="good")) == ["[CLS]", "good", "[MASK]", "good", "[SEP]"]


def test_doubled_braces_are_braces(bert: Backbone) -> None:
    coder = encoder(bert, "{{{text}}} {mask}")
    assert shown(coder, encode(coder, text="good")) == ["[CLS]", "{", "good", "}", "[MASK]", "[SEP]"]


@pytest.mark.parametrize("blank", [" " * 500, "\n" * 500, "\t " * 250])
def test_blanks_inside_a_text_count_as_text_and_not_as_pattern(backbone_of: BackboneOf, blank: str) -> None:
    roberta = backbone_of("roberta")
    encoded = encode(encoder(roberta, "{text} It was {mask}.", roberta.max_tokens), text=f"good{blank}game")
    assert len(encoded.input_ids) == roberta.max_tokens
    assert encoded.lost_tokens > 400


def test_pattern_that_fills_the_backbone_is_refused(bert: Backbone) -> None:
    with pytest.raises(TaskError, match="alone fills the 7 tokens: shorten it"):
        encode(encoder(bert, "{text} it was very {mask}.", max_tokens=7), text="good")


def test_pattern_that_leaves_one_token_is_accepted(bert: Backbone) -> None:
    assert encode(encoder(bert, "{text} it was very {mask}.", max_tokens=8), text="good game").lost_tokens == 1


def test_empty_text_is_encoded(bert: Backbone) -> None:
    coder = encoder(bert, "{text} it was {mask}.")
    assert shown(coder, encode(coder, text="")) == ["[CLS]", "it", "was", "[MASK]", ".", "[SEP]"]


def test_no_texts_are_no_encodings(bert: Backbone) -> None:
    assert encoder(bert, "{text} {mask}").encode([]) == []


def test_truncation_and_padding_inside_tokenizer_json_are_ignored(
    directories: dict[str, Path], bert: Backbone, tmp_path: Path
) -> None:
    folder = shutil.copytree(directories["bert"], tmp_path / "bert")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    document["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    document["padding"] = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    cutting = Backbone.load(folder, device="cpu")
    template = "{text} It was {mask}."
    assert encode(encoder(cutting, template), text=FIVE) == encode(encoder(bert, template), text=FIVE)


def test_batch_is_padded_at_the_end_and_masks_the_padding() -> None:
    batch = pad_batch([EncodedText((5, 6, 7), (1,), 0), EncodedText((8,), (0,), 0)], pad_id=9)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.mask_positions.tolist() == [[1], [0]]
    assert batch.mask_positions.dtype == torch.int64


@pytest.mark.parametrize("text", ["MASK", "SEP", "CLS"])
def test_a_text_cannot_form_a_special_token_with_the_pattern_around_it(bert: Backbone, text: str) -> None:
    coder = Encoder(bert.tokenizer, PatternSpec(template="[{text}] it was {mask} ."), 64)
    encoded = coder.encode([{"text": text}])[0]
    special = [token for token in encoded.input_ids if token in bert.tokenizer.all_special_ids]
    assert special.count(bert.tokenizer.mask_token_id) == 1
    assert encoded.input_ids[encoded.mask_positions[0]] == bert.tokenizer.mask_token_id
    assert special.count(bert.tokenizer.sep_token_id) == special.count(bert.tokenizer.cls_token_id) == 1


def test_two_adjacent_fields_cannot_form_a_special_token(bert: Backbone) -> None:
    coder = Encoder(bert.tokenizer, PatternSpec(template="{mask} : {first}{second}"), 64)
    encoded = coder.encode([{"first": "[MA", "second": "SK]"}])[0]
    assert encoded.input_ids.count(bert.tokenizer.mask_token_id) == 1
