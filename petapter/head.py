"""The PET head: hidden states at the masks become one score per label.

logits(y|x) = mean over words v of y of (M / |v|) * sum over j <= |v| of s(j, token_j(v)),
s(j, t) = rows[t] . g(h_mask_j) + bias[t],  g = norm(activation(dense(.)))

For one word per label that fills all M masks this is the score of PETapter (Rieger, Ruckdeschel, Wiedemann 2024,
arXiv 2412.04975). `mlm` starts g and the rows at the backbone's own masked-LM head, so that words mean something before
any training; `random` is the paper's head, in which a word is only the number of a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from petapter.backbone import Backbone
from petapter.task.verbalizer import Verbalizer
from petapter_schemas.errors import BackboneError
from petapter_schemas.manifest import HeadPart, HeadSpec

HeadInit = Literal["mlm", "random"]

_RANDOM_ACTIVATION = "gelu"
_RANDOM_NORM_EPS = 1e-12
_RANDOM_STD = 0.02
"""Of PETapter's head (arXiv 2412.04975): exact GELU, LayerNorm with eps 1e-12, N(0, 0.02) weights, zero biases."""

_MLM_TRAINED: tuple[HeadPart, ...] = ("rows", "bias")
_RANDOM_TRAINED: tuple[HeadPart, ...] = ("rows", "bias", "dense", "norm")


@dataclass(frozen=True)
class MlmHead:
    """The parts of a backbone's masked-LM head; the tensors belong to the backbone and are not to be changed.

    Attributes:
        dense: Linear map [H, H] before the activation.
        activation: Name of the activation, as transformers calls it.
        norm: The LayerNorm after it.
        decoder_weight: [V, H], usually the word embeddings.
        decoder_bias: [V].
    """

    dense: nn.Linear
    activation: str
    norm: nn.LayerNorm
    decoder_weight: Tensor
    decoder_bias: Tensor


_MLM_PARTS = {
    "bert": ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    "roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    "xlm-roberta": ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    "camembert": ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
}
"""Where dense, norm and decoder sit, by transformers' `model_type`."""

_MLM_ACTIVATIONS = {"bert": "hidden_act", "distilbert": "activation"}
"""The configuration field that names the head's activation; the others use exact GELU."""


def read_mlm_head(model: PreTrainedModel) -> MlmHead:
    """Find the masked-LM head of a backbone.

    Raises:
        BackboneError: The architecture's head is not known here.
    """
    kind = model.config.model_type
    if kind not in _MLM_PARTS:
        raise BackboneError(f"the masked-LM head of a {kind} model is not supported: use --head random")
    dense, norm, decoder = (model.get_submodule(name) for name in _MLM_PARTS[kind])
    field = _MLM_ACTIVATIONS.get(kind)
    activation = str(getattr(model.config, field)) if field else "gelu"
    linear = cast("nn.Linear", decoder)
    return MlmHead(cast("nn.Linear", dense), activation, cast("nn.LayerNorm", norm), linear.weight, linear.bias)


class PetHead(nn.Module):
    """Scores labels from the hidden states at the masks (formula at the top of this file); float32."""

    def __init__(self, verbalizer: Verbalizer, hidden_size: int, activation: str, norm_eps: float) -> None:
        super().__init__()
        row_of = {token: row for row, token in enumerate(verbalizer.row_token_ids)}
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.activation = ACT2FN[activation]
        self.activation_name = activation
        self.norm = nn.LayerNorm(hidden_size, eps=norm_eps)
        self.rows = nn.Linear(hidden_size, len(row_of))
        self._words = tuple(
            (label, len(label_ids), tuple(row_of[token] for token in word))
            for label, label_ids in enumerate(verbalizer.ids)
            for word in label_ids
        )
        self._labels = len(verbalizer.ids)
        self._word_maps: dict[tuple[int, torch.device], Tensor] = {}

    def forward(self, hidden: Tensor) -> Tensor:
        """Label logits [B, L] from hidden states at the masks [B, M, H]."""
        features = self.norm(self.activation(self.dense(hidden)))  # [B, M, H]
        scores = self.rows(features)  # [B, M, T]
        return torch.einsum("bmt,lmt->bl", scores, self._word_map(hidden.shape[1], hidden.device))

    def _word_map(self, masks: int, device: torch.device) -> Tensor:
        """Weight of each row at each mask in each label's score, [L, M, T]; made once per M and device."""
        if (masks, device) not in self._word_maps:
            weights = torch.zeros(self._labels, masks, self.rows.out_features)
            for label, words, rows in self._words:
                for position, row in enumerate(rows):
                    weights[label, position, row] += masks / len(rows) / words
            self._word_maps[masks, device] = weights.to(device)
        return self._word_maps[masks, device]


def new_head(backbone: Backbone, verbalizer: Verbalizer, init: HeadInit, seed: int) -> PetHead:
    """A head ready for training, on the backbone's device; only the parts of `trained_parts(init)` require gradients.

    Raises:
        BackboneError: `init` is "mlm" but the backbone has no masked-LM head that can be used.
    """
    head = _random_head(backbone, verbalizer, seed) if init == "random" else _mlm_head(backbone, verbalizer)
    head.requires_grad_(False)  # noqa: FBT003 (torch's signature)
    for parameter in part_parameters(head, trained_parts(init)).values():
        parameter.requires_grad_(True)  # noqa: FBT003
    return head.to(backbone.device)


def trained_parts(init: HeadInit) -> tuple[HeadPart, ...]:
    """The parts that train and are therefore stored."""
    return _MLM_TRAINED if init == "mlm" else _RANDOM_TRAINED


def part_parameters(head: PetHead, parts: Sequence[HeadPart]) -> dict[str, Tensor]:
    """The parameters of chosen parts under the names head.safetensors uses."""
    named: dict[HeadPart, dict[str, Tensor]] = {
        "rows": {"rows.weight": head.rows.weight},
        "bias": {"rows.bias": head.rows.bias},
        "dense": {"dense.weight": head.dense.weight, "dense.bias": head.dense.bias},
        "norm": {"norm.weight": head.norm.weight, "norm.bias": head.norm.bias},
    }
    return {name: parameter for part in parts for name, parameter in named[part].items()}


def restore_head(backbone: Backbone, verbalizer: Verbalizer, spec: HeadSpec, tensors: Mapping[str, Tensor]) -> PetHead:
    """Build a stored head again: stored parts from `tensors`, the others from the backbone's masked-LM head.

    Raises:
        BackboneError: A part is not stored and the backbone has no masked-LM head to take it from, or the activation
            is not known here.
    """
    if spec.activation not in ACT2FN:
        raise BackboneError(f"the head's activation {spec.activation!r} is not known here: upgrade transformers")
    if spec.init == "mlm":
        head = _mlm_head(backbone, verbalizer)
    else:
        head = PetHead(verbalizer, backbone.hidden_size, spec.activation, spec.norm_eps)
    with torch.no_grad():
        for name, parameter in part_parameters(head, spec.parts).items():
            parameter.copy_(tensors[name])
    return head.to(backbone.device).eval().requires_grad_(False)  # noqa: FBT003


def _mlm_head(backbone: Backbone, verbalizer: Verbalizer) -> PetHead:
    if not backbone.has_mlm_head:
        raise BackboneError(f"{backbone.repo!r} comes without a masked-LM head: use --head random")
    source = read_mlm_head(backbone.model)
    head = PetHead(verbalizer, backbone.hidden_size, source.activation, source.norm.eps)
    ids = torch.tensor(verbalizer.row_token_ids, device=backbone.device)
    with torch.no_grad():
        head.dense.load_state_dict(source.dense.state_dict())
        head.norm.load_state_dict(source.norm.state_dict())
        head.rows.weight.copy_(source.decoder_weight[ids])
        head.rows.bias.copy_(source.decoder_bias[ids])
    return head


def _random_head(backbone: Backbone, verbalizer: Verbalizer, seed: int) -> PetHead:
    head = PetHead(verbalizer, backbone.hidden_size, _RANDOM_ACTIVATION, _RANDOM_NORM_EPS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (head.dense, head.rows):
            layer.weight.normal_(0.0, _RANDOM_STD, generator=generator)
            layer.bias.zero_()
    return head
