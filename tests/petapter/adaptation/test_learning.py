import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from petapter import Backbone
from petapter.adaptation.learning import learn, lora_everywhere, merge
from petapter.adaptation.masked_lm import head_parameters, live_head, masked_loss, start_head
from petapter.adaptation.masking import MaskedBatch
from petapter.adaptation.options import AdaptationOptions
from petapter.adaptation.pieces import Pieces, gather_pieces
from petapter.adaptation.texts import Texts
from petapter.mlm_head import read_mlm_head
from petapter_schemas.errors import InputError
from tests.petapter.tiny_backbones import ARCHITECTURES, FAMILIES, HIDDEN

QUICK = AdaptationOptions(steps=4, rank=2, alpha=4.0, batch_size=8, piece_tokens=24, lr=0.01)


@pytest.fixture
def fresh(directories: dict[str, Path]) -> Backbone:
    return Backbone.load(directories["bert"], device="cpu")


def gathered(backbone: Backbone, corpus: Path, tmp_path: Path) -> Pieces:
    return gather_pieces(Texts((corpus,)).documents(), backbone.tokenizer, 24, tmp_path, seed=0)


def batch_of(backbone: Backbone) -> MaskedBatch:
    encoded = backbone.tokenizer(["the match was great", "the bank is bad"], return_tensors="pt")
    ids, attention = encoded["input_ids"], encoded["attention_mask"]
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    chosen[0, 2] = chosen[1, 1] = chosen[1, 3] = True
    return MaskedBatch(ids.masked_fill(chosen, backbone.tokenizer.mask_token_id), attention, chosen, ids[chosen])


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_loss_is_that_of_transformers(directories: dict[str, Path], family: str) -> None:
    backbone = Backbone.load(directories[family], device="cpu")
    batch = batch_of(backbone)
    labels = torch.full_like(batch.input_ids, -100)
    labels[batch.chosen] = batch.targets
    with torch.no_grad():
        expected = backbone.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
        found = masked_loss(backbone, live_head(backbone.model), batch)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_all_of_a_head_trains_but_the_word_embeddings(directories: dict[str, Path], family: str) -> None:
    model = Backbone.load(directories[family], device="cpu").model
    inside = {id(parameter) for parameter in model.base_model.parameters()}
    outside = {name for name, parameter in model.named_parameters() if id(parameter) not in inside}
    assert set(head_parameters(model, live_head(model))) == outside


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_map_of_the_layers_is_adapted(directories: dict[str, Path], family: str) -> None:
    backbone = Backbone.load(directories[family], device="cpu")
    targets = lora_everywhere(backbone, QUICK).target_modules
    assert len(targets or ()) == 2 * 6  # query, key, value, output, feed-forward up and down in two layers


def test_a_new_head_starts_at_word_frequencies(fresh: Backbone, directories: dict[str, Path]) -> None:
    head = live_head(fresh.model)
    counts = np.arange(len(fresh.tokenizer), dtype=np.int64)
    start_head(fresh.model, head, counts, seed=3)
    share = (counts + 1) / (counts + 1).sum()
    assert head.decoder_bias.detach().numpy() == pytest.approx(np.log(share), abs=1e-5)
    assert head.dense_weight.std().item() == pytest.approx(0.02, rel=0.2)
    # the model itself has these values
    assert torch.equal(read_mlm_head(fresh.model).dense_weight, head.dense_weight)
    again = Backbone.load(directories["bert"], device="cpu")
    start_head(again.model, live_head(again.model), counts, seed=3)
    assert torch.equal(read_mlm_head(again.model).dense_weight, head.dense_weight)


def test_merging_is_what_the_adapter_computed(fresh: Backbone, corpus: Path, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in fresh.model.base_model.named_parameters()}
    pieces = gathered(fresh, corpus, tmp_path)
    learned = learn(fresh, pieces, QUICK)
    after = dict(fresh.model.base_model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())  # bare again
    assert not any(parameter.requires_grad for parameter in after.values())
    merge(fresh, learned.factors, 2.0)
    prefix = "base_model.model.bert.encoder.layer.1.attention.self.query"
    down, up = learned.factors[f"{prefix}.lora_A.weight"], learned.factors[f"{prefix}.lora_B.weight"]
    expected = before["encoder.layer.1.attention.self.query.weight"] + 2.0 * up @ down
    assert torch.allclose(after["encoder.layer.1.attention.self.query.weight"], expected, atol=1e-6)
    assert up.abs().sum() > 0
    unadapted = learn(fresh, pieces, replace(QUICK, steps=1, rank=0, lr=1e-12))
    assert unadapted.held_out.before == pytest.approx(learned.held_out.after, abs=1e-4)


@pytest.mark.parametrize("name", ["bert", "encoder"])
def test_held_out_loss_falls_on_a_toy_language(
    directories: dict[str, Path], repeated: list[str], tmp_path: Path, name: str
) -> None:
    backbone = Backbone.load(directories[name], device="cpu")
    pieces = gather_pieces(repeated, backbone.tokenizer, 24, tmp_path, seed=0)
    seen: list[tuple[float, float]] = []
    options = AdaptationOptions(steps=150, batch_size=16, lr=0.01, piece_tokens=24)
    learned = learn(backbone, pieces, options, lambda share, loss: seen.append((share, loss)))
    assert learned.held_out.after < learned.held_out.before - 0.5
    assert learned.steps == 150
    assert [share for share, _ in seen] == pytest.approx([step / 150 for step in range(1, 151)])
    assert learned.last_loss == pytest.approx(np.mean([loss for _, loss in seen[-100:]]))
    if name == "encoder":
        assert learned.held_out.before == pytest.approx(math.log(8), abs=0.3)  # it knows how common words are
        assert learned.held_out.after < math.log(8) - 0.5  # and then what they stand next to


def test_head_only_leaves_no_adapter(fresh: Backbone, corpus: Path, tmp_path: Path) -> None:
    learned = learn(fresh, gathered(fresh, corpus, tmp_path), replace(QUICK, steps=30, rank=0, lr=0.05))
    assert learned.factors == {}
    assert learned.held_out.after < learned.held_out.before
    assert set(learned.head) == set(head_parameters(fresh.model, live_head(fresh.model)))


def test_bfloat16_is_near_float32(fresh: Backbone, directories: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    pieces = gathered(fresh, corpus, tmp_path)
    exact = learn(fresh, pieces, QUICK).held_out
    again = Backbone.load(directories["bert"], device="cpu")
    rough = learn(again, pieces, replace(QUICK, precision="bfloat16")).held_out
    assert rough.before == pytest.approx(exact.before, rel=0.02)
    assert rough.before != exact.before


def test_minutes_end_a_run(fresh: Backbone, corpus: Path, tmp_path: Path) -> None:
    options = replace(QUICK, steps=None, minutes=1e-9)
    learned = learn(fresh, gathered(fresh, corpus, tmp_path), options)
    assert learned.steps == 1  # at least one


def test_divergence_is_refused(fresh: Backbone, corpus: Path, tmp_path: Path) -> None:
    options = replace(QUICK, steps=30, lr=1e30, warmup=0.0)
    with pytest.raises(InputError, match="training diverged"):
        learn(fresh, gathered(fresh, corpus, tmp_path), options)


def test_open_choices_follow_the_backbone() -> None:
    chosen = AdaptationOptions().resolved(384, 512)
    assert (chosen.steps, chosen.piece_tokens) == (1000, 96)
    assert chosen.lr == pytest.approx(1.5e-3)
    assert AdaptationOptions(rank=0).resolved(384, 512).lr == pytest.approx(2e-3)
    assert chosen.head_lr(is_known=False) == chosen.lr
    assert chosen.head_lr(is_known=True) == pytest.approx(1.5e-4)
    assert AdaptationOptions(minutes=5).resolved(HIDDEN, 64).steps is None
    assert AdaptationOptions().resolved(HIDDEN, 64).piece_tokens == 64
    with pytest.raises(InputError, match="reads 64 tokens, pieces have 65"):
        AdaptationOptions(piece_tokens=65).resolved(HIDDEN, 64)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"seed": -1}, "the seed must be between"),
        ({"seed": 2**63}, "the seed must be between"),
        ({"steps": 0}, "1 or more"),
        ({"minutes": 0.0}, "minutes must be a number above 0"),
        ({"minutes": math.nan}, "minutes must be a number above 0"),
        ({"lr": math.inf}, "lr must be a number above 0"),
        ({"masked": 1.0}, "the masked share"),
    ],
)
def test_choices_that_cannot_be_are_refused(choice: dict[str, float], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        AdaptationOptions(**choice)  # type: ignore[arg-type]
