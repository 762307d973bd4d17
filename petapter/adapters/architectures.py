"""Where each kind of adapter goes in each architecture, by transformers' `model_type`.

Names are those of modules inside one layer. A gap is a refusal: the reason stands beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from petapter_schemas.adapter_spec import AdapterKind, Placement
from petapter_schemas.errors import BackboneError

Ia3Place = Literal["after-activation", "before-activation"]
"""Which side of the activation in the feed-forward block (IA)^3 scales.

After it is the place of its authors (Liu et al. 2022, arXiv 2205.05638), before it that of AdapterHub, whose
configuration scales what the linear map into the middle gives (`intermediate_lora` of its `IA3Config`), and so that of
PETapter.
"""


@dataclass(frozen=True)
class Places:
    """The adaptable modules of one architecture.

    Attributes:
        lora: Query and value projections, as in PETapter; a fused projection as a whole, with which the keys are
            adapted too.
        linear: Every linear map of a layer, for a LoRA of low rank; in ALBERT query and value alone.
        ia3: Key and value projections, whose output is scaled.
        intermediate: The linear map into the wide middle of the feed-forward block, whose output goes into the
            activation; (IA)^3 scales it in the place "before-activation".
        feedforward: The linear map back from the middle; in the place "after-activation" (IA)^3 scales its input, which
            is the output of the activation.
        bitfit: Query projection and the linear map into the middle.
        bottleneck: By placement, see `petapter.adapters.bottleneck`.
        shared: Whether all layers are one, so that none can be chosen.
        fused: Whether one projection gives queries, keys and values.
        refused: By kind, why it has no place.
    """

    lora: tuple[str, ...]
    linear: tuple[str, ...]
    ia3: tuple[str, ...]
    intermediate: tuple[str, ...]
    feedforward: tuple[str, ...]
    bitfit: tuple[str, ...]
    bottleneck: Mapping[Placement, tuple[str, ...]]
    shared: bool = False
    fused: bool = False
    refused: Mapping[AdapterKind, str] = field(default_factory=dict)

    def targets(self, kind: AdapterKind, placement: Placement | None, ia3_place: Ia3Place) -> tuple[str, ...]:
        """The modules that a kind adapts when nothing else is chosen."""
        if kind == "bottleneck":
            return self.bottleneck[placement or "pfeiffer"]
        middle = self.intermediate if ia3_place == "before-activation" else self.feedforward
        return {"lora": self.lora, "ia3": self.ia3 + middle, "bitfit": self.bitfit}.get(kind, ())


_BERT = Places(
    lora=("query", "value"),
    linear=("query", "key", "value", "dense"),
    ia3=("attention.self.key", "attention.self.value"),
    intermediate=("intermediate.dense",),
    feedforward=("output.dense",),
    bitfit=("attention.self.query", "intermediate.dense"),
    bottleneck={"pfeiffer": ("output.LayerNorm",), "houlsby": ("attention.output.dropout", "output.dropout")},
)
_DISTILBERT = Places(
    lora=("q_lin", "v_lin"),
    linear=("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
    ia3=("attention.k_lin", "attention.v_lin"),
    intermediate=("ffn.lin1",),
    feedforward=("ffn.lin2",),
    bitfit=("attention.q_lin", "ffn.lin1"),
    bottleneck={"pfeiffer": ("output_layer_norm",), "houlsby": ("attention.out_lin", "ffn.dropout")},
)
_DEBERTA = Places(
    lora=("query_proj", "value_proj"),
    linear=("query_proj", "key_proj", "value_proj", "dense"),
    ia3=("attention.self.key_proj", "attention.self.value_proj"),
    intermediate=("intermediate.dense",),
    feedforward=("output.dense",),
    bitfit=("attention.self.query_proj", "intermediate.dense"),
    bottleneck=_BERT.bottleneck,
)
_ALBERT = Places(
    lora=("query", "value"),
    linear=("query", "value"),
    ia3=("attention.key", "attention.value"),
    intermediate=("ffn",),
    feedforward=("ffn_output",),
    bitfit=("attention.query", "ffn"),
    bottleneck={"pfeiffer": ("full_layer_layer_norm",), "houlsby": ("attention.output_dropout", "ffn_output")},
    shared=True,
)
_MODERNBERT = Places(
    lora=("Wqkv",),
    linear=("Wqkv", "Wi", "Wo"),
    ia3=(),
    intermediate=(),
    feedforward=(),
    bitfit=(),
    bottleneck={"pfeiffer": ("mlp.Wo",), "houlsby": ("attn.out_drop", "mlp.Wo")},
    fused=True,
    refused={
        "ia3": "one projection gives queries, keys and values at once, and its queries must not be scaled",
        "bitfit": "its linear layers have no biases",
    },
)

_PLACES: dict[str, Places] = {
    "albert": _ALBERT,
    "bert": _BERT,
    "camembert": _BERT,
    "deberta-v2": _DEBERTA,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "modernbert": _MODERNBERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
}
"""In DeBERTa-v2 the keys and queries of positions come from the same projections, so they are adapted with them."""

_NAMES: dict[AdapterKind, str] = {"lora": "LoRA", "ia3": "(IA)^3", "bottleneck": "a bottleneck", "bitfit": "BitFit"}


def places(model_type: str, kind: AdapterKind) -> Places:
    """The adaptable modules of an architecture, for a kind that it can have.

    Raises:
        BackboneError: The architecture is not known here, or has no place for the kind.
    """
    if model_type not in _PLACES:
        known = ", ".join(sorted(_PLACES))
        raise BackboneError(f"{_NAMES[kind]} on a {model_type} model is not supported: take one of {known}")
    found = _PLACES[model_type]
    if kind in found.refused:
        raise BackboneError(
            f"{_NAMES[kind]} on a {model_type} model is not supported, since {found.refused[kind]}: take lora or "
            "bottleneck"
        )
    return found
