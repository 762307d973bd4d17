import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from petapter import Backbone
from petapter.task.encoding import Encoder, pad_batch
from petapter.task.verbalizer import Verbalizer, read_verbalizer
from petapter_schemas.errors import BackboneError, BackboneMismatchError
from tests.petapter.conftest import SENTIMENT, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, HEADLESS, POSITIONS, build_backbone

TEXTS = [{"text": "good game"}, {"text": "a"}, {"text": "all the world is in this market, and not in that bank"}]
"""The last is longer than ModernBERT's local window here, the others are padded by more than it."""


@pytest.fixture
def copied(directories: dict[str, Path], tmp_path: Path) -> Path:
    """A BERT directory that a test may change."""
    return shutil.copytree(directories["bert"], tmp_path / "bert")


def rewrite(path: Path, **changed: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | changed), encoding="utf-8")


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_loaded_backbone_is_frozen_and_evaluates(backbone_of: BackboneOf, family: str) -> None:
    model = backbone_of(family).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_longest_sequence_is_what_the_positions_allow(backbone_of: BackboneOf, family: str) -> None:
    # RoBERTa numbers positions from padding_idx + 1, so its table has two more rows than readable tokens
    backbone = backbone_of(family)
    assert backbone.max_tokens == POSITIONS
    ids = torch.full((1, POSITIONS), backbone.tokenizer.mask_token_id)
    assert backbone.model(input_ids=ids).logits.shape[1] == POSITIONS


def test_shorter_limit_of_the_tokenizer_counts(copied: Path) -> None:
    rewrite(copied / "tokenizer_config.json", model_max_length=20)
    assert Backbone.load(copied, device="cpu").max_tokens == 20


def test_longer_limit_of_the_tokenizer_does_not_count(copied: Path) -> None:
    rewrite(copied / "tokenizer_config.json", model_max_length=512)
    assert Backbone.load(copied, device="cpu").max_tokens == POSITIONS


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_masked_lm_head_is_noticed(backbone_of: BackboneOf, family: str) -> None:
    assert backbone_of(family).has_mlm_head


@pytest.mark.parametrize("family", HEADLESS)
def test_missing_masked_lm_head_is_noticed(backbone_of: BackboneOf, family: str) -> None:
    assert not backbone_of(family).has_mlm_head


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_hidden_states_at_masks_are_those_of_transformers(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    encoded = Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS)
    hidden = backbone.read(pad_batch(encoded, backbone.pad_id)).at_masks
    for row, item in enumerate(encoded):  # reference: one text at a time, without padding
        ids = torch.tensor([item.input_ids])
        alone = backbone.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(hidden[row], alone[0, list(item.mask_positions)], atol=1e-5, rtol=0)


def test_name_is_that_of_the_directory_unless_given(directories: dict[str, Path]) -> None:
    assert Backbone.load(directories["bert"], device="cpu").repo == "bert"
    assert Backbone.load(directories["bert"], repo="acme/bert", device="cpu").repo == "acme/bert"


def test_loading_twice_gives_the_same_fingerprint(directories: dict[str, Path], bert: Backbone) -> None:
    assert Backbone.load(directories["bert"], device="cpu").fingerprint == bert.fingerprint


def test_own_spec_fits(bert: Backbone) -> None:
    verbalizer = read_verbalizer(SENTIMENT, bert.tokenizer)
    bert.check_fits(bert.spec(verbalizer), verbalizer)


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("architecture", "architecture"),
        ("config_sha256", "configuration"),
        ("weights_sha256", "set of weights"),
        ("tokenizer_sha256", "tokenizer"),
        ("vocab_size", "number of tokens"),
        ("hidden_size", "hidden size"),
        ("layers", "number of layers"),
        ("mask_id", "mask token"),
    ],
)
def test_every_difference_of_the_backbone_is_named(bert: Backbone, field: str, what: str) -> None:
    verbalizer = read_verbalizer(SENTIMENT, bert.tokenizer)
    spec = bert.spec(verbalizer)
    value = "0" * 64 if isinstance(getattr(spec, field), str) else getattr(spec, field) + 1
    other = spec.model_copy(update={field: value, "repo": "acme/other"})
    with pytest.raises(BackboneMismatchError, match=f"trained on 'acme/other' with another {what} than"):
        bert.check_fits(other, verbalizer)


def test_other_reading_of_a_word_is_a_mismatch(bert: Backbone) -> None:
    verbalizer = read_verbalizer(SENTIMENT, bert.tokenizer)
    with pytest.raises(BackboneMismatchError, match="reading of the label words"):
        bert.check_fits(bert.spec(verbalizer), Verbalizer(verbalizer.ids[::-1]))


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no \\*.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
    ],
)
def test_incomplete_directory_is_refused(copied: Path, file: str, complaint: str) -> None:
    (copied / file).unlink()
    with pytest.raises(BackboneError, match=complaint):
        Backbone.load(copied, device="cpu")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_file_is_a_backbone_error_in_one_line(copied: Path, file: str) -> None:
    (copied / file).write_bytes(b"{\n\x00broken")
    with pytest.raises(BackboneError) as refusal:
        Backbone.load(copied, device="cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", "wide"),
        ("layer_norm_eps", None),
        ("hidden_act", "invented"),
        ("num_attention_heads", 0),
        ("model_type", []),
        ("dtype", "invented"),
        ("dtype", []),
    ],
)
def test_configuration_that_makes_no_sense_is_a_backbone_error_in_one_line(
    copied: Path, field: str, value: object
) -> None:
    rewrite(copied / "config.json", **{field: value})
    with pytest.raises(BackboneError) as refusal:
        Backbone.load(copied, device="cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("changed", [{"model": {"type": "invented"}}, {"model": None}, {"added_tokens": 1}], ids=str)
def test_tokenizer_that_makes_no_sense_is_a_backbone_error_in_one_line(
    copied: Path, changed: dict[str, object]
) -> None:
    rewrite(copied / "tokenizer.json", **changed)
    with pytest.raises(BackboneError) as refusal:
        Backbone.load(copied, device="cpu")
    assert "\n" not in str(refusal.value)


def test_missing_encoder_weight_is_refused(copied: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    del tensors["bert.encoder.layer.0.attention.self.query.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="lacks weights of its encoder, for example bert"):
        Backbone.load(copied, device="cpu")


def test_weights_of_another_size_are_refused(copied: Path) -> None:
    rewrite(copied / "config.json", hidden_size=48)
    with pytest.raises(BackboneError):
        Backbone.load(copied, device="cpu")


def test_pickled_weights_alone_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="other formats can run code"):
        Backbone.load(copied, device="cpu")


def test_model_that_brings_code_is_refused(copied: Path) -> None:
    (copied / "evil.py").write_text("raise SystemExit('code of a model ran')", encoding="utf-8")
    rewrite(
        copied / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForMaskedLM": "evil.M"}
    )
    with pytest.raises(BackboneError):
        Backbone.load(copied, device="cpu")


def test_model_without_masks_is_refused(copied: Path) -> None:
    rewrite(copied / "config.json", model_type="gpt2", architectures=["GPT2LMHeadModel"])
    with pytest.raises(BackboneError):
        Backbone.load(copied, device="cpu")


@pytest.mark.parametrize("family", [*ARCHITECTURES, *HEADLESS])
def test_pools_are_means_over_the_tokens_of_the_text_alone(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    layers = (backbone.layers, 0, 1)
    encoded = Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS)
    reading = backbone.read(pad_batch(encoded, backbone.pad_id), layers)
    assert reading.pools is not None
    for row, item in enumerate(encoded):  # reference: one text at a time, without padding
        states = backbone.model(input_ids=torch.tensor([item.input_ids]), output_hidden_states=True).hidden_states
        for index, layer in enumerate(layers):
            mean = states[layer][0, list(item.text_positions)].mean(dim=0)
            torch.testing.assert_close(reading.pools[row, index], mean / mean.norm(), atol=1e-5, rtol=0)


def test_pools_of_the_last_layer_alone_are_the_same(bert: Backbone) -> None:
    batch = pad_batch(Encoder(bert.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS), bert.pad_id)
    both, alone = bert.read(batch, (1, bert.layers)).pools, bert.read(batch, (bert.layers,)).pools
    assert both is not None
    assert alone is not None
    assert torch.equal(both[:, 1:], alone)


def test_pool_of_a_text_without_tokens_is_zero(bert: Backbone) -> None:
    encoded = Encoder(bert.tokenizer, SENTIMENT.patterns[0], 64).encode([{"text": ""}, {"text": "good game"}])
    pools = bert.read(pad_batch(encoded, bert.pad_id), (1, bert.layers)).pools
    assert pools is not None
    assert pools[0].eq(0).all()
    torch.testing.assert_close(pools[1].norm(dim=-1), torch.ones(2))


def test_layer_of_an_architecture_with_layers_inside_layers_is_refused(tmp_path: Path) -> None:
    backbone = Backbone.load(build_backbone("albert-inner", tmp_path), device="cpu")
    batch = pad_batch(Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS), backbone.pad_id)
    with pytest.raises(BackboneError, match=r"gives 5 hidden states for 2 layers.* pool the last one alone") as refusal:
        backbone.read(batch, (1, 2))
    assert "\n" not in str(refusal.value)
    assert backbone.read(batch, (2,)).pools is not None
