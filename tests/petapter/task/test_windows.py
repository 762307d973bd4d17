from typing import Literal

import pytest
import torch

from petapter import Backbone
from petapter.task.encoding import Encoder, Windows
from petapter.task.windows import pool_windows, seen_share
from petapter_schemas.errors import TaskError
from petapter_schemas.task import PatternSpec
from tests.petapter.conftest import BackboneOf
from tests.petapter.tiny_backbones import FAMILIES

NINE = "great good fine bad awful news sports world money"


def encoder(backbone: Backbone, keep: str, max_tokens: int, template: str = "{text} it was {mask}.") -> Encoder:
    return Encoder(backbone.tokenizer, PatternSpec.model_validate({"template": template, "keep": keep}), max_tokens)


def shown(coder: Encoder, windows: Windows) -> list[str]:
    return [" ".join(coder.tokenizer.convert_ids_to_tokens(list(item.input_ids))) for item in windows.encoded]


def test_every_window_is_a_whole_pattern_with_its_part_of_the_text(bert: Backbone) -> None:
    coder = encoder(bert, "windows", 10)  # [CLS] it was [MASK] . [SEP] leaves 4
    assert shown(coder, coder.encode_windows([{"text": NINE}])) == [
        "[CLS] great good fine bad it was [MASK] . [SEP]",
        "[CLS] fine bad awful news it was [MASK] . [SEP]",
        "[CLS] awful news sports world it was [MASK] . [SEP]",
        "[CLS] news sports world money it was [MASK] . [SEP]",
    ]


def test_head_and_tail_are_joined_in_one_encoding(bert: Backbone) -> None:
    coder = encoder(bert, "head+tail", 10)
    windows = coder.encode_windows([{"text": NINE}])
    assert shown(coder, windows) == ["[CLS] great sports world money it was [MASK] . [SEP]"]
    assert windows.lost_tokens == (5,)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep", ["head", "tail", "head+tail", "windows"])
def test_text_that_fits_is_encoded_alike_whatever_is_kept(backbone_of: BackboneOf, family: str, keep: str) -> None:
    backbone = backbone_of(family)
    expected = encoder(backbone, "head", 64).encode([{"text": "a good match"}])
    windows = encoder(backbone, keep, 64).encode_windows([{"text": "a good match"}])
    assert list(windows.encoded) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_every_window_stand_on_the_mask(backbone_of: BackboneOf, family: str) -> None:
    coder = encoder(backbone_of(family), "windows", 24, "{mask} or {mask}: {text} It was {mask}.")
    windows = coder.encode_windows([{"text": NINE * 3}])
    assert len(windows.encoded) > 2
    mask = coder.tokenizer.mask_token_id
    for item in windows.encoded:
        assert [i for i, token in enumerate(item.input_ids) if token == mask] == list(item.mask_positions)
        assert len(item.mask_positions) == 3


def test_owner_names_the_text_of_each_window(bert: Backbone) -> None:
    windows = encoder(bert, "windows", 10).encode_windows([{"text": "good"}, {"text": NINE}, {"text": "bad"}])
    assert windows.owner == (0, 1, 1, 1, 1, 2)
    assert windows.text_tokens == (1, 9, 1)
    assert windows.lost_tokens == (0, 0, 0)
    assert [item.lost_tokens for item in windows.encoded] == [0, 5, 5, 5, 5, 0]


def test_short_field_stands_whole_beside_every_window_of_the_long_one(bert: Backbone) -> None:
    coder = encoder(bert, "windows", 8, "{title} {mask} {body}")
    windows = coder.encode_windows([{"title": "news", "body": NINE}])  # [CLS] news [MASK] [SEP] leaves 4
    assert all(text.startswith("[CLS] news [MASK] ") for text in shown(coder, windows))
    assert windows.lost_tokens == (0,)


def test_field_with_fewer_windows_stays_at_its_last(bert: Backbone) -> None:
    coder = encoder(bert, "windows", 7, "{a} {mask} {b}")  # 4 tokens of text: 2 for each field
    windows = coder.encode_windows([{"a": "great good fine", "b": "bad awful news sports"}])
    assert shown(coder, windows) == [
        "[CLS] great good [MASK] bad awful [SEP]",
        "[CLS] good fine [MASK] awful news [SEP]",
        "[CLS] good fine [MASK] news sports [SEP]",
    ]


def test_tokens_beyond_the_cap_are_lost(bert: Backbone) -> None:
    pattern = PatternSpec.model_validate(
        {"template": "{text} it was {mask}.", "keep": "windows", "windows": {"at_most": 2}}
    )
    windows = Encoder(bert.tokenizer, pattern, 10).encode_windows([{"text": NINE}])
    assert len(windows.encoded) == 2  # 0..3 and 5..8
    assert windows.lost_tokens == (1,)


def test_encode_refuses_to_read_only_one_of_several_windows(bert: Backbone) -> None:
    coder = encoder(bert, "windows", 10)
    assert len(coder.encode([{"text": "good"}])) == 1
    with pytest.raises(TaskError, match=r"in one piece: choose another way to keep, such as head\+tail"):
        coder.encode([{"text": NINE}])


def test_no_texts_have_no_windows(bert: Backbone) -> None:
    assert encoder(bert, "windows", 10).encode_windows([]) == Windows((), (), (), ())


def test_seen_share_is_over_texts_and_over_all_tokens() -> None:
    seen = seen_share(Windows((), (), text_tokens=(10, 30, 0), lost_tokens=(5, 0, 0)))
    assert seen.shares == (0.5, 1.0, 1.0)
    assert seen.share == 35 / 40
    assert seen.cut_texts == 1


def test_nothing_to_see_is_seen_whole() -> None:
    assert seen_share(Windows((), (), (), ())).share == 1.0


def test_mean_pooling_averages_the_windows_of_each_text() -> None:
    scores = torch.tensor([[-1.0, -2.0], [-3.0, -1.0], [-5.0, -7.0]])
    assert pool_windows(scores, [0, 0, 1], "mean").tolist() == [[-2.0, -1.5], [-5.0, -7.0]]


def test_max_pooling_takes_the_highest_by_label() -> None:
    scores = torch.tensor([[-1.0, -2.0], [-3.0, -1.0], [-5.0, -7.0]])
    assert pool_windows(scores, [0, 0, 1], "max").tolist() == [[-1.0, -1.0], [-5.0, -7.0]]


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_one_window_keeps_its_scores_to_the_bit(pool: Literal["mean", "max"]) -> None:
    scores = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 1e3
    assert torch.equal(pool_windows(scores, range(50), pool), scores)


def test_no_windows_pool_to_no_texts() -> None:
    assert pool_windows(torch.zeros(0, 3), [], "mean").shape == (0, 3)
