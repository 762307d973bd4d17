from pathlib import Path

import numpy as np
import pytest
import torch

from petapter import Backbone
from petapter.adaptation import pieces as pieces_module
from petapter.adaptation.masking import Masking
from petapter.adaptation.pieces import FILLER, gather_pieces
from petapter_schemas.errors import BackboneError, InputError
from tests.petapter.conftest import BackboneOf

WORDS = ["great", "news", "sports", "world", "money", "match", "goal", "team", "bank", "ball"]
TEXTS = [" ".join(WORDS[(start // 10**place + place) % 10] for place in range(5)) for start in range(0, 60_000, 997)]


def test_no_token_is_lost_and_documents_are_parted(bert: Backbone, tmp_path: Path) -> None:
    found = gather_pieces(TEXTS, bert.tokenizer, 8, tmp_path, seed=0)
    sep, cls = bert.tokenizer.sep_token_id, bert.tokenizer.cls_token_id
    assert (found.training[:, 0] == cls).all()
    joined = [int(i) for row in found.training for i in [x for x in row if x != FILLER][1:-1]]
    kept = [text for index, text in enumerate(TEXTS) if index % 50 != 0]
    expected: list[int] = []
    for text in kept:
        expected += ([sep] if expected else []) + bert.tokenizer(text, add_special_tokens=False)["input_ids"]
    # a border of pieces that is a border of documents too needs no separator
    assert [i for i in joined if i != sep] == [i for i in expected if i != sep]
    assert all(int(row[row != FILLER][-1]) == sep for row in found.training)
    assert joined.count(sep) >= len(kept) // 2


def test_held_out_documents_are_not_trained_on(bert: Backbone, tmp_path: Path) -> None:
    texts = ["question answer topic"] + ["great news"] * 49 + ["book play"] + ["great news"] * 9
    found = gather_pieces(texts, bert.tokenizer, 16, tmp_path, seed=0)
    held_out, training = set(found.held_out.ravel().tolist()), set(found.training.ravel().tolist())
    own = set(bert.tokenizer("question answer topic book play", add_special_tokens=False)["input_ids"])
    assert own <= held_out
    assert not own & training
    assert found.token_counts[bert.tokenizer.convert_tokens_to_ids("great")] == 58
    assert found.token_counts.sum() == 2 * 58


def test_facts_count_words_tokens_and_unknown(bert: Backbone, tmp_path: Path) -> None:
    facts = gather_pieces(["great zq", "world é"], bert.tokenizer, 16, tmp_path, seed=0).facts
    assert (facts.documents, facts.words) == (2, 4)
    assert facts.tokens == 5  # great z ##q | world e: the tokenizer strips accents
    assert facts.unknown == 0
    assert facts.tokens_per_word == 5 / 4


def test_spelled_out_special_tokens_stay_text(bert: Backbone, tmp_path: Path) -> None:
    found = gather_pieces(["great [MASK] news"] * 2, bert.tokenizer, 32, tmp_path, seed=0)
    assert bert.tokenizer.mask_token_id not in found.training


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "distilbert"])
def test_every_family_gets_its_own_frame(backbone_of: BackboneOf, family: str, tmp_path: Path) -> None:
    tokenizer = backbone_of(family).tokenizer
    row = gather_pieces(["great news", "great news"], tokenizer, 32, tmp_path, seed=0).training[0]
    assert row[row != FILLER].tolist() == tokenizer("great news")["input_ids"]


def test_too_many_pieces_are_drawn_at_random(
    bert: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = gather_pieces(TEXTS, bert.tokenizer, 8, tmp_path, seed=0)
    everything = [tuple(row.tolist()) for row in whole.training]
    monkeypatch.setattr(pieces_module, "_MOST_PIECES", 10)
    drawn = []
    for seed in (1, 1, 2):
        (tmp_path / "pieces.int32").unlink()
        rows = gather_pieces(TEXTS, bert.tokenizer, 8, tmp_path, seed=seed).training
        drawn.append([tuple(row.tolist()) for row in rows])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 10
    assert set(drawn[0]) <= set(everything)
    assert set(drawn[0]) - set(everything[:10])
    assert f"of {len(everything)} pieces of text, 10 drawn" in caplog.text


@pytest.mark.parametrize("texts", [["only one"], []])
def test_too_little_text_is_refused(bert: Backbone, tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError, match="at least two documents"):
        gather_pieces(texts, bert.tokenizer, 16, tmp_path, seed=0)


def test_pieces_without_room_are_refused(bert: Backbone, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="leave no room"):
        gather_pieces(TEXTS, bert.tokenizer, 2, tmp_path, seed=0)


def test_masking_follows_bert(bert: Backbone) -> None:
    masking = Masking.of(bert, 0.15)
    tokenizer = bert.tokenizer
    row = [tokenizer.cls_token_id, *[tokenizer.convert_tokens_to_ids("great")] * 61, tokenizer.sep_token_id, FILLER]
    batch = masking.hide(np.array([row] * 800, np.int32), torch.Generator().manual_seed(0))
    n = 800 * 61
    chosen = batch.chosen.sum().item()
    # binomial: five standard deviations
    assert abs(chosen - 0.15 * n) < 5 * (n * 0.15 * 0.85) ** 0.5
    assert not batch.chosen[:, [0, 62, 63]].any()
    assert torch.eq(batch.targets, row[1]).all()
    read = batch.input_ids[batch.chosen]
    share_masked = torch.eq(read, masking.mask_id).float().mean().item()
    share_kept = torch.eq(read, row[1]).float().mean().item()
    assert abs(share_masked - 0.8) < 5 * (0.8 * 0.2 / chosen) ** 0.5 + 0.1 / len(tokenizer)
    assert abs(share_kept - 0.1) < 5 * (0.1 * 0.9 / chosen) ** 0.5 + 0.1 / len(tokenizer)
    untouched = torch.tensor(row).expand(800, -1)[~batch.chosen]
    assert torch.equal(batch.input_ids[~batch.chosen], untouched.masked_fill(untouched == FILLER, bert.pad_id))
    assert batch.attention_mask.sum().item() == 800 * 63


def test_a_single_token_is_always_hidden(bert: Backbone) -> None:
    masking = Masking.of(bert, 0.15)
    row = np.array([[2, 30, 3, FILLER]], np.int32)
    for seed in range(20):
        batch = masking.hide(row, torch.Generator().manual_seed(seed))
        assert batch.chosen.tolist() == [[False, True, False, False]]
