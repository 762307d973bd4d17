"""The PET head: what the backbone says at the masks and of the text becomes one score per label.

logits_p(y|x) = w * s(y|x) + A_y . f(x) + c_(p, y)

for pattern p, with w = `words`, A and c the part `labels` (absent: 0), and

s(y|x) = mean over words v of y of (M / |v|) * sum over j <= |v| of rows[token_j(v)] . g(h_mask_j) + bias[token_j(v)]
g      = norm(activation(dense(.)))
f(x)   = mean over the masks of g(h_mask_j), and / or the text's pooled hidden states, as `reads` says

For one word per label that fills all M masks, s is the score of PETapter (Rieger, Ruckdeschel, Wiedemann 2024,
arXiv 2412.04975). `mlm` starts g and the rows at the backbone's own masked-LM head, so that words mean something before
any training; `random` is the paper's head, in which a word is only the number of a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from petapter.backbone import Backbone, Reading
from petapter.mlm_head import MlmHead, read_mlm_head
from petapter.task.verbalizer import Verbalizer
from petapter_schemas.errors import BackboneError, InputError
from petapter_schemas.manifest import HeadPart, HeadSpec

HeadInit = Literal["mlm", "random"]
Trains = Literal["rows", "all", "none"]
Reads = Literal["mask", "mean-pool", "both"]
Norm = Literal["layer-norm", "none"]

ACTIVATIONS = ("gelu", "relu", "tanh", "silu", "linear")
"""What a random head may use between its linear maps; gelu is the paper's."""

_RANDOM_STD = 0.02
_NORM_EPS = 1e-12
"""Of PETapter's head (arXiv 2412.04975): exact GELU, LayerNorm with eps 1e-12, N(0, 0.02) weights, zero biases."""

_TRAINED: dict[Trains, tuple[HeadPart, ...]] = {
    "rows": ("rows", "bias"),
    "all": ("rows", "bias", "dense", "norm"),
    "none": (),
}


@dataclass(frozen=True)
class HeadChoice:
    """Where a head starts and what of it trains; it has no label map, which preset `strong` alone makes.

    Attributes:
        init: Start at the backbone's masked-LM head, or at random as in the paper.
        trains: Of a head from the masked LM: its rows, all of it, or nothing; a random head trains as a whole.
        activation: Of a random head, one of ACTIVATIONS; a masked LM brings its own.
        norm: Of a random head likewise.
        norm_eps: Of a random head's LayerNorm likewise.
    """

    init: HeadInit = "mlm"
    trains: Trains = "rows"
    activation: str = "gelu"
    norm: Norm = "layer-norm"
    norm_eps: float = _NORM_EPS

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(f"the head's activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        own = (self.activation, self.norm, self.norm_eps)
        if self.init == "mlm" and own != ("gelu", "layer-norm", _NORM_EPS):
            raise InputError("a head from the masked LM has the masked LM's activation and norm: choose a random head")

    @property
    def parts(self) -> tuple[HeadPart, ...]:
        """The parts that train and are therefore stored."""
        if self.init == "mlm":
            return _TRAINED[self.trains]
        return tuple(part for part in _TRAINED["all"] if part != "norm" or self.norm != "none")


@dataclass(frozen=True)
class HeadShape:
    """What fixes a head's form before any weight.

    Attributes:
        hidden_size: H.
        feature_size: Width of g, E.
        activation: Between dense and norm, as transformers calls it.
        norm: Whether a LayerNorm follows.
        norm_eps: Its eps.
        words: Weight of the label words' score, w.
        reads: What f is made of.
        pool_layers: Hidden states that f pools, 0 being the embeddings.
        patterns: Number of patterns of the task, P.
        has_labels: Whether there are A and c.
    """

    hidden_size: int
    feature_size: int
    activation: str
    norm: Norm
    norm_eps: float
    words: float = 1.0
    reads: Reads = "mask"
    pool_layers: tuple[int, ...] = ()
    patterns: int = 1
    has_labels: bool = False

    @property
    def label_features(self) -> int:
        """Width of f, F."""
        return (self.feature_size if self.reads != "mean-pool" else 0) + self.hidden_size * len(self.pool_layers)

    @property
    def reads_masks(self) -> bool:
        """Whether g is needed at all."""
        return self.words > 0 or (self.has_labels and self.reads != "mean-pool")


SharedLayers = tuple[nn.Linear, nn.Module]
"""The dense layer and norm of a masked-LM head, which heads that train neither have in common."""


class PetHead(nn.Module):
    """Scores labels (formula at the top of this file); float32. It has no layers that its shape does not use."""

    def __init__(self, verbalizer: Verbalizer, shape: HeadShape, shared: SharedLayers | None = None) -> None:
        """A head of new weights, but for a dense layer and norm that it may share with others of its form."""
        super().__init__()
        row_of = {token: row for row, token in enumerate(verbalizer.row_token_ids)}
        self.shape = shape
        if shape.reads_masks:
            self.dense, self.norm = shared or _new_layers(shape)
            self.activation = ACT2FN[shape.activation]
        self.has_rows = shape.words > 0
        if self.has_rows:
            self.rows = nn.Linear(shape.feature_size, len(row_of))
        self._words = tuple(
            (label, len(label_ids), tuple(row_of[token] for token in word))
            for label, label_ids in enumerate(verbalizer.ids)
            for word in label_ids
        )
        self.labels = len(verbalizer.ids)
        if shape.has_labels:
            self.label_weight = nn.Parameter(torch.zeros(self.labels, shape.label_features))
            self.label_bias = nn.Parameter(torch.zeros(shape.patterns, self.labels))
        self._word_maps: dict[tuple[int, torch.device], Tensor] = {}

    def forward(self, reading: Reading, pattern: int = 0) -> Tensor:
        """Label logits [B, L] of texts that were read in the task's pattern of this number."""
        features = self.features(reading.at_masks) if self.shape.reads_masks else None  # [B, M, E]
        logits = self.word_scores(features) * self.shape.words if features is not None and self.shape.words else None
        if not self.shape.has_labels:
            return logits if logits is not None else torch.zeros(len(reading.at_masks), self.labels)
        read = self.label_inputs(features, reading.pools)  # [B, F]
        scores = nn.functional.linear(read, self.label_weight, self.label_bias[pattern])
        return scores if logits is None else logits + scores

    def features(self, at_masks: Tensor) -> Tensor:
        """G of hidden states [B, M, H], [B, M, E]."""
        features: Tensor = self.norm(self.activation(self.dense(at_masks)))
        return features

    def word_scores(self, features: Tensor) -> Tensor:
        """S of every label from g at the masks [B, M, E], [B, L]."""
        scores = self.rows(features)  # [B, M, T]
        return torch.einsum("bmt,lmt->bl", scores, self.word_map(features.shape[1], features.device))

    def label_inputs(self, features: Tensor | None, pools: Tensor | None) -> Tensor:
        """F from g at the masks [B, M, E] and the pools [B, len(pool_layers), H], whichever `reads` names, [B, F]."""
        blocks: list[Tensor] = []
        if self.shape.reads != "mean-pool" and features is not None:
            blocks.append(features.mean(dim=1))
        if pools is not None:
            blocks.append(pools.flatten(start_dim=1))
        return torch.cat(blocks, dim=-1)

    def word_map(self, masks: int, device: torch.device) -> Tensor:
        """Weight of each row at each mask in each label's score, [L, M, T]; made once per M and device."""
        if (masks, device) not in self._word_maps:
            weights = torch.zeros(self.labels, masks, self.rows.out_features)
            for label, words, rows in self._words:
                for position, row in enumerate(rows):
                    weights[label, position, row] += masks / len(rows) / words
            self._word_maps[masks, device] = weights.to(device)
        return self._word_maps[masks, device]


def _new_layers(shape: HeadShape) -> SharedLayers:
    width = shape.feature_size
    norm = nn.LayerNorm(width, eps=shape.norm_eps) if shape.norm == "layer-norm" else nn.Identity()
    return nn.Linear(shape.hidden_size, width), norm


def new_head(backbone: Backbone, verbalizer: Verbalizer, choice: HeadChoice, seed: int) -> PetHead:
    """A head ready for training, on the backbone's device; only the parts of `choice.parts` require gradients.

    Raises:
        BackboneError: The head is to start at the masked LM but the backbone has none that can be used.
    """
    head = (
        _random_head(backbone, verbalizer, choice, seed) if choice.init == "random" else _mlm_head(backbone, verbalizer)
    )
    head.requires_grad_(False)  # noqa: FBT003 (torch's signature)
    for parameter in part_parameters(head, choice.parts).values():
        parameter.requires_grad_(True)  # noqa: FBT003
    return head.to(backbone.device)


def part_parameters(head: PetHead, parts: tuple[HeadPart, ...]) -> dict[str, Tensor]:
    """The parameters of chosen parts under the names head.safetensors uses."""
    named: dict[str, Tensor] = {}
    for part in parts:
        match part:
            case "rows":
                named["rows.weight"] = head.rows.weight
            case "bias":
                named["rows.bias"] = head.rows.bias
            case "dense":
                named |= {"dense.weight": head.dense.weight, "dense.bias": head.dense.bias}
            case "norm":
                named |= {"norm.weight": head.norm.weight, "norm.bias": head.norm.bias}  # type: ignore[dict-item]
            case "labels":
                named |= {"labels.weight": head.label_weight, "labels.bias": head.label_bias}
    return named


def head_spec(head: PetHead, init: HeadInit, parts: tuple[HeadPart, ...]) -> HeadSpec:
    """What a manifest records of a head whose `parts` are stored."""
    shape = head.shape
    return HeadSpec(
        init=init,
        parts=parts,
        reads=shape.reads,
        pool_layers=shape.pool_layers,
        words=shape.words,
        activation=shape.activation,
        norm=shape.norm,
        norm_eps=shape.norm_eps,
        feature_size=None if shape.feature_size == shape.hidden_size else shape.feature_size,
        parameters=sum(tensor.numel() for tensor in part_parameters(head, parts).values()),
    )


def restore_head(
    backbone: Backbone,
    verbalizer: Verbalizer,
    spec: HeadSpec,
    patterns: int,
    tensors: Mapping[str, Tensor],
    shared: SharedLayers | None = None,
) -> PetHead:
    """Build a stored head again: stored parts from `tensors`, the others from the backbone's masked-LM head.

    Args:
        backbone: Where it is to run.
        verbalizer: Of its labels.
        spec: What its manifest says.
        patterns: Of its task.
        tensors: Its stored parts.
        shared: Dense layer and norm of such a head that has both from the backbone, to be used instead of copies;
            ignored by a head that does not.

    Raises:
        BackboneError: A part is not stored and the backbone has no masked-LM head to take it from, that head is of
            another form than the stored one, or the activation is not known here. Nothing is allocated before.
    """
    if spec.activation not in ACT2FN:
        raise BackboneError(f"the head's activation {spec.activation!r} is not known here: upgrade transformers")
    shape = HeadShape(
        hidden_size=backbone.hidden_size,
        feature_size=spec.feature_size or backbone.hidden_size,
        activation=spec.activation,
        norm=spec.norm,
        norm_eps=spec.norm_eps,
        words=spec.words,
        reads=spec.reads,
        pool_layers=spec.pool_layers,
        patterns=patterns,
        has_labels="labels" in spec.parts,
    )
    begins_there = spec.init == "mlm" and shape.reads_masks
    if begins_there:
        _check_form(shape, mlm_shape(backbone))
    has_own = not begins_there or bool({"dense", "norm"} & set(spec.parts))
    head = PetHead(verbalizer, shape, None if has_own else shared)
    if begins_there:
        _start(head, backbone, verbalizer, has_layers=shared is not None and not has_own)
    with torch.no_grad():
        for name, parameter in part_parameters(head, spec.parts).items():
            parameter.copy_(tensors[name])
    return head.to(backbone.device).eval().requires_grad_(False)  # noqa: FBT003


def mlm_shape(backbone: Backbone) -> HeadShape:
    """The form of a head that starts at the backbone's masked-LM head.

    Raises:
        BackboneError: There is none that can be used.
    """
    source = _usable_mlm_head(backbone)
    return HeadShape(backbone.hidden_size, source.feature_size, source.activation, "layer-norm", source.norm_eps)


def start_at_masked_lm(head: PetHead, backbone: Backbone, verbalizer: Verbalizer) -> None:
    """Copy dense, norm and the rows of the label words from the backbone's masked-LM head into one of its form.

    Raises:
        BackboneError: There is none that can be used.
    """
    _start(head, backbone, verbalizer, has_layers=False)


def _start(head: PetHead, backbone: Backbone, verbalizer: Verbalizer, *, has_layers: bool) -> None:
    """As `start_at_masked_lm`, but for dense and norm if the head shares them with others that started there."""
    source = _usable_mlm_head(backbone)
    ids = torch.tensor(verbalizer.row_token_ids, device=source.decoder_weight.device)
    with torch.no_grad():
        if not has_layers:
            head.dense.weight.copy_(source.dense_weight)
            head.dense.bias.copy_(source.dense_bias)
            head.norm.weight.copy_(source.norm_weight)  # type: ignore[operator]
            head.norm.bias.copy_(source.norm_bias)  # type: ignore[operator]
        if head.shape.words:
            head.rows.weight.copy_(source.decoder_weight[ids])
            head.rows.bias.copy_(source.decoder_bias[ids])


def _usable_mlm_head(backbone: Backbone) -> MlmHead:
    if not backbone.has_mlm_head:
        raise BackboneError(f"{backbone.repo!r} comes without a masked-LM head: use --head random")
    return read_mlm_head(backbone.model)


def _mlm_head(backbone: Backbone, verbalizer: Verbalizer) -> PetHead:
    head = PetHead(verbalizer, mlm_shape(backbone))
    start_at_masked_lm(head, backbone, verbalizer)
    return head


def _check_form(stored: HeadShape, found: HeadShape) -> None:
    form, other = ((shape.feature_size, shape.activation, shape.norm, shape.norm_eps) for shape in (stored, found))
    if form != other:
        raise BackboneError(
            f"the module's head is of the form {form}, the backbone's masked-LM head {other}: "
            "load it on the backbone it was trained on"
        )


def _random_head(backbone: Backbone, verbalizer: Verbalizer, choice: HeadChoice, seed: int) -> PetHead:
    hidden = backbone.hidden_size
    head = PetHead(verbalizer, HeadShape(hidden, hidden, choice.activation, choice.norm, choice.norm_eps))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (head.dense, head.rows):
            layer.weight.normal_(0.0, _RANDOM_STD, generator=generator)
            layer.bias.zero_()
    return head
