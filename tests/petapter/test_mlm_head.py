import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    PreTrainedModel,
)
from transformers.activations import ACT2FN

from petapter import Backbone
from petapter.mlm_head import MlmHead, read_mlm_head
from petapter.task import Encoder, pad_batch
from petapter_schemas.errors import BackboneError
from tests.petapter.conftest import SENTIMENT, BackboneOf
from tests.petapter.tiny_backbones import ARCHITECTURES, EMBEDDINGS, HIDDEN

TEXTS = [{"text": "good game"}, {"text": "a"}, {"text": "all the world is in this market, and not in that bank"}]
OWN_ACTIVATION = {"distilbert": "activation", "modernbert": "classifier_activation"}
OWN_EPS = {"modernbert": "norm_eps"}
TINY = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "pad_token_id": 0,
}


def logits_by_parts(head: MlmHead, hidden: Tensor) -> Tensor:
    """decoder . norm(activation(dense . h)), one map after the other, [B, M, V]."""
    raw = ACT2FN[head.activation](hidden @ head.dense_weight.T + head.dense_bias)
    features = torch.nn.functional.layer_norm(
        raw, (head.feature_size,), head.norm_weight, head.norm_bias, head.norm_eps
    )
    return features @ head.decoder_weight.T + head.decoder_bias


def assert_says_what_the_backbone_says(backbone: Backbone) -> None:
    """Reference: the logits of transformers' own masked LM."""
    encoded = Encoder(backbone.tokenizer, SENTIMENT.patterns[0], 64).encode(TEXTS)
    batch = pad_batch(encoded, backbone.pad_id)
    with torch.no_grad():
        logits = backbone.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        found = logits_by_parts(read_mlm_head(backbone.model), backbone.read(batch).at_masks)
    expected = logits[torch.arange(len(TEXTS)).unsqueeze(1), batch.mask_positions]
    assert float(expected.std()) > 0.02
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_parts_together_say_what_the_masked_lm_says(backbone_of: BackboneOf, family: str) -> None:
    assert_says_what_the_backbone_says(backbone_of(family))


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_features_are_as_wide_as_the_token_embeddings(backbone_of: BackboneOf, family: str) -> None:
    assert read_mlm_head(backbone_of(family).model).feature_size == EMBEDDINGS.get(family, HIDDEN)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_activation_and_eps_are_those_in_use(directories: dict[str, Path], tmp_path: Path, family: str) -> None:
    # with another activation and a large eps in the configuration; some architectures have their own in the head
    folder = shutil.copytree(directories[family], tmp_path / family)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    activation, eps = OWN_ACTIVATION.get(family, "hidden_act"), OWN_EPS.get(family, "layer_norm_eps")
    assert activation in config
    config |= {activation: "relu"} | ({eps: 0.3} if eps in config else {})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert_says_what_the_backbone_says(Backbone.load(folder, device="cpu"))


def own_logits(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Logits of transformers and of the parts of its head, [1, S, V]."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.eval()
        output = model(input_ids=torch.tensor([[3, 4, 5, 6]]), output_hidden_states=True)
        return output.logits, logits_by_parts(read_mlm_head(model), output.hidden_states[-1])


@pytest.mark.parametrize(
    "build",
    [
        lambda: ModernBertForMaskedLM(
            ModernBertConfig(
                **TINY, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
                classifier_bias=True, norm_bias=True, decoder_bias=False,
            )
        ),
        lambda: BertForMaskedLM(BertConfig(**TINY, tie_word_embeddings=False)),
    ],
    ids=["modernbert-other-biases", "bert-untied"],
)  # fmt: skip
def test_variants_of_an_architecture_are_read_too(build: Callable[[], PreTrainedModel]) -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        expected, found = own_logits(build())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_parts_are_not_copies(bert: Backbone) -> None:
    assert read_mlm_head(bert.model).decoder_weight.data_ptr() == bert.model.get_output_embeddings().weight.data_ptr()


def test_architecture_whose_head_is_not_known_is_refused_with_the_remedy() -> None:
    model = MPNetForMaskedLM(MPNetConfig(**TINY))
    with pytest.raises(BackboneError, match="head of a mpnet model is not supported: use --head random"):
        read_mlm_head(model)
