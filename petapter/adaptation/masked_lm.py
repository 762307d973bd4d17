"""A backbone's masked-LM head as something that trains: its parameters, its start, its loss at the hidden tokens."""

from dataclasses import fields, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from petapter.adaptation.masking import MaskedBatch
from petapter.backbone import Backbone
from petapter.mlm_head import MlmHead, read_mlm_head

_INITIAL_SPREAD = 0.02
"""Standard deviation of new weights, as in BERT, where the configuration states none."""


def live_head(model: PreTrainedModel) -> MlmHead:
    """The masked-LM head with the model's own parameters in place of their detached views.

    Raises:
        BackboneError: The architecture's head is not known.
    """
    found = read_mlm_head(model)
    owners = {parameter.data_ptr(): parameter for parameter in model.parameters()}

    def live(view: Tensor) -> Tensor:
        return owners.get(view.data_ptr(), view)  # a bias that the architecture lacks has no owner and stays zero

    return replace(
        found,
        dense_weight=live(found.dense_weight),
        dense_bias=live(found.dense_bias),
        norm_weight=live(found.norm_weight),
        norm_bias=live(found.norm_bias),
        decoder_weight=live(found.decoder_weight),
        decoder_bias=live(found.decoder_bias),
    )


def head_parameters(model: PreTrainedModel, head: MlmHead) -> dict[str, nn.Parameter]:
    """What trains of a live head, by its name in the model: all but the word embeddings."""
    embeddings = _embeddings(model)
    own = [value for value in _tensors(head).values() if isinstance(value, nn.Parameter) and value is not embeddings]
    return {name: parameter for name, parameter in model.named_parameters() if any(parameter is one for one in own)}


def start_head(model: PreTrainedModel, head: MlmHead, token_counts: NDArray[np.int64], seed: int) -> None:
    """Give a head that came without weights its start, in place.

    The dense layer starts as in BERT; a decoder that is not tied starts at the word embeddings; the bias starts at the
    log-frequency of each token in the texts, so that training need not learn it first.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = float(getattr(model.config, "initializer_range", _INITIAL_SPREAD))
    embeddings = _embeddings(model)
    counts = torch.ones(len(head.decoder_bias), dtype=torch.float64)
    counts[: len(token_counts)] += torch.from_numpy(token_counts)
    with torch.no_grad():
        head.dense_weight.copy_(torch.randn(head.dense_weight.shape, generator=generator) * spread)
        head.dense_bias.zero_()
        head.norm_weight.fill_(1.0)
        head.norm_bias.zero_()
        head.decoder_bias.copy_((counts / counts.sum()).log().float())
        if head.decoder_weight is not embeddings and head.decoder_weight.shape == embeddings.shape:
            head.decoder_weight.copy_(embeddings)


def masked_loss(backbone: Backbone, head: MlmHead, batch: MaskedBatch) -> Tensor:
    """Mean cross-entropy in nats at the hidden tokens; the decoder, the dearest part, reads nothing else."""
    device = backbone.device
    output = backbone.model.base_model(
        input_ids=batch.input_ids.to(device), attention_mask=batch.attention_mask.to(device)
    )
    hidden = output.last_hidden_state[batch.chosen.to(device)]  # [T, H]
    features = ACT2FN[head.activation](functional.linear(hidden, head.dense_weight, head.dense_bias))  # [T, E]
    normed = functional.layer_norm(
        features.float(), (head.feature_size,), head.norm_weight, head.norm_bias, head.norm_eps
    )
    logits = functional.linear(normed, head.decoder_weight, head.decoder_bias)  # [T, V]
    return functional.cross_entropy(logits.float(), batch.targets.to(device))


def _embeddings(model: PreTrainedModel) -> Tensor:
    return cast("Tensor", model.get_input_embeddings().weight)


def _tensors(head: MlmHead) -> dict[str, Tensor]:
    values = {field.name: getattr(head, field.name) for field in fields(head)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
