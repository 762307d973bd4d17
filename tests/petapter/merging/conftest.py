"""Modules of one form that say different things, for every kind of adapter."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from petapter import Backbone, TrainedModule, TrainingOptions, train
from petapter.adapters import AdapterChoice
from petapter.merging.merging import module_scores
from tests.petapter.conftest import SENTIMENT, SENTIMENT_ROWS

TEXTS = [row.fields for row in SENTIMENT_ROWS]
CHOICES = {
    "lora": {"rank": 3, "alpha": 6.0},
    "ia3": {"adapter": AdapterChoice(kind="ia3")},
    "ia3-before": {"adapter": AdapterChoice(kind="ia3", ia3_place="before-activation")},
    "bitfit": {"adapter": AdapterChoice(kind="bitfit")},
    "bottleneck": {"adapter": AdapterChoice(kind="bottleneck", reduction=5, placement="houlsby")},
    "none": {"rank": 0},
}
ModuleOf = Callable[[str, int], TrainedModule]


def log_probabilities(backbone: Backbone, module: TrainedModule) -> Tensor:
    """[N, L], with the module's own calibration."""
    return module_scores(backbone, module, TEXTS, module.calibration).log_probabilities


def products(tensors: Mapping[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
    """The change of each place of a LoRA, [out, in]."""
    suffix = ".lora_A.weight"
    places = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    return {place: scale * tensors[f"{place}.lora_B.weight"] @ tensors[place + suffix] for place in places}


@pytest.fixture(scope="session")
def module_of(bert: Backbone) -> ModuleOf:
    """A module of a kind and a seed, trained a little and then shaken, so that what is lost shows."""
    made: dict[tuple[str, int], TrainedModule] = {}

    def make(kind: str, seed: int) -> TrainedModule:
        if (kind, seed) not in made:
            options = TrainingOptions(steps=2, batch_size=4, seed=seed, **CHOICES[kind])  # type: ignore[arg-type]
            module = train(SENTIMENT, SENTIMENT_ROWS, bert, options)
            choose = torch.Generator().manual_seed(seed)
            shaken = {
                name: tensor + 0.2 * torch.randn(tensor.shape, generator=choose)
                for name, tensor in sorted(module.adapter_tensors.items())
            }
            made[kind, seed] = replace(module, adapter_tensors=shaken)
        return made[kind, seed]

    return make
