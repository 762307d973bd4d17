"""Adapters to test with: every kind in every architecture that has a place for it, with made-up tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from petapter.adapters import AdapterChoice, AdapterSlots, adapter_spec, peft_config
from tests.petapter.tiny_backbones import ARCHITECTURES

CHOICES = {
    "lora": AdapterChoice(rank=3, alpha=6.0),
    "ia3": AdapterChoice(kind="ia3"),
    "ia3-before": AdapterChoice(kind="ia3", ia3_place="before-activation"),
    "pfeiffer": AdapterChoice(kind="bottleneck", reduction=5),
    "houlsby": AdapterChoice(kind="bottleneck", reduction=4, placement="houlsby"),
    "bitfit": AdapterChoice(kind="bitfit"),
}
CASES = [
    (architecture, name)
    for architecture in ARCHITECTURES
    for name in CHOICES
    if architecture != "modernbert" or CHOICES[name].kind not in {"ia3", "bitfit"}
]
IDS = torch.tensor([[2, 5, 6, 4, 3], [2, 7, 4, 8, 3]])  # [B, S]


def hidden(model: PreTrainedModel) -> Tensor:
    """Last hidden states of two made-up rows, [B, S, H]."""
    with torch.no_grad():
        states: Tensor = model.base_model(input_ids=IDS).last_hidden_state
    return states


def made_up(tensors: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Tensors of the same names and shapes, far enough from a new adapter's that a lost one shows."""
    choose = torch.Generator().manual_seed(seed)
    return {name: tensor + 0.3 * torch.randn(tensor.shape, generator=choose) for name, tensor in tensors.items()}


@contextmanager
def adapted(model: PreTrainedModel, choice: AdapterChoice, seed: int | None = 0) -> Iterator[dict[str, Tensor]]:
    """A model with one adapter, new or (with a seed) with made-up tensors, for a block; yields the tensors."""
    slots = AdapterSlots(model)
    try:
        slots.add("it", peft_config(adapter_spec(choice, model)))
        if seed is not None:
            slots.write("it", made_up(slots.read("it"), seed))
        yield slots.read("it")
    finally:
        slots.close()
