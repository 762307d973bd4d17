"""Where the masked-LM head of each architecture sits: the one table that knows how transformers names its parts."""

from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from petapter_schemas.errors import BackboneError


@dataclass(frozen=True)
class MlmHead:
    """The parts of a backbone's masked-LM head; the tensors belong to the backbone and are not to be changed.

    E, the width of its features, is the width of the token embeddings; ALBERT and ELECTRA have a smaller one than H.

    Attributes:
        dense_weight: Of the linear map before the activation, [E, H].
        dense_bias: [E]; zeros where the architecture has none.
        activation: Name of the activation, as transformers calls it.
        norm_weight: Of the LayerNorm after it, [E].
        norm_bias: [E]; zeros where the architecture has none.
        norm_eps: Of the LayerNorm.
        decoder_weight: [V, E], usually the word embeddings.
        decoder_bias: [V]; zeros where the architecture has none.
    """

    dense_weight: Tensor
    dense_bias: Tensor
    activation: str
    norm_weight: Tensor
    norm_bias: Tensor
    norm_eps: float
    decoder_weight: Tensor
    decoder_bias: Tensor

    @property
    def feature_size(self) -> int:
        """Width of what the decoder reads, E."""
        return int(self.dense_weight.shape[0])


@dataclass(frozen=True)
class _Place:
    """Names of dense, norm and decoder inside a model; the activation is a field of the configuration or its name."""

    dense: str
    norm: str
    decoder: str
    activation: str
    decoder_weight: str = ""
    """Where the decoder is a bias alone and its weights are elsewhere."""


_ROBERTA = _Place("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "=gelu")
_BERT_LIKE = _Place(
    "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder", "hidden_act"
)
_PLACES = {
    "bert": _BERT_LIKE,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _Place("vocab_transform", "vocab_layer_norm", "vocab_projector", "activation"),
    "electra": _Place("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head", "=gelu"),
    "modernbert": _Place("head.dense", "head.norm", "decoder", "classifier_activation"),
    "albert": _Place("predictions.dense", "predictions.LayerNorm", "predictions.decoder", "hidden_act"),
    "deberta-v2": _BERT_LIKE,
}
"""By transformers' `model_type`; an activation that begins with "=" is fixed by the architecture."""

_DEBERTA_NEW = _Place(
    "lm_predictions.lm_head.dense",
    "lm_predictions.lm_head.LayerNorm",
    "lm_predictions.lm_head",
    "hidden_act",
    decoder_weight="deberta.embeddings.word_embeddings.weight",
)
"""DeBERTa with `legacy` false: the head as it was pretrained, which reads the word embeddings directly."""


def read_mlm_head(model: PreTrainedModel) -> MlmHead:
    """Find the masked-LM head of a backbone.

    Raises:
        BackboneError: The architecture's head is not known here.
    """
    kind = model.config.model_type
    if kind not in _PLACES:
        raise BackboneError(f"the masked-LM head of a {kind} model is not supported: use --head random")
    place = _DEBERTA_NEW if kind == "deberta-v2" and not model.config.legacy else _PLACES[kind]
    dense, norm, decoder = (model.get_submodule(name) for name in (place.dense, place.norm, place.decoder))
    weight = _tensor(attrgetter(place.decoder_weight)(model) if place.decoder_weight else decoder.weight)
    fixed = place.activation.startswith("=")
    return MlmHead(
        dense_weight=_tensor(dense.weight),
        dense_bias=_bias(dense),
        activation=place.activation[1:] if fixed else str(getattr(model.config, place.activation)),
        norm_weight=_tensor(norm.weight),
        norm_bias=_bias(norm),
        norm_eps=float(norm.eps),  # type: ignore[arg-type]
        decoder_weight=weight,
        decoder_bias=_bias(decoder, rows=len(weight)),
    )


def _tensor(value: Tensor | nn.Module) -> Tensor:
    if not isinstance(value, Tensor):
        raise BackboneError("the masked-LM head of this model is built in an unknown way: use --head random")
    return value.detach()


def _bias(layer: nn.Module, rows: int | None = None) -> Tensor:
    bias = getattr(layer, "bias", None)
    if isinstance(bias, Tensor):
        return bias.detach()
    weight = _tensor(layer.weight)
    return torch.zeros(rows or len(weight), dtype=weight.dtype, device=weight.device)
