"""The models that baselines train: copies of the resident backbone, and the usual classification head on top."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import PretrainedConfig

from petapter.adapters import AdapterSlots
from petapter.backbone import Backbone
from petapter.benchmark.baselines.options import Optimisation
from petapter.benchmark.baselines.sequences import Padded
from petapter.training.order import batches
from petapter.training.schedule import linear_schedule

_DROPOUT_FIELDS = ("classifier_dropout", "hidden_dropout_prob", "dropout")
_USUAL_DROPOUT = 0.1
_USUAL_RANGE = 0.02

_Module = TypeVar("_Module", bound=nn.Module)


class ClassificationHead(nn.Module):
    """Dropout, Linear, tanh, dropout, Linear on the hidden state of the first token.

    The head of RoBERTa (Liu et al. 2019, arXiv 1907.11692) as transformers builds it, and the standard head that the
    PETapter paper (Rieger, Ruckdeschel, Wiedemann 2024, arXiv 2412.04975) compares with. Weights start at N(0, 0.02)
    (the configuration's `initializer_range`), biases at 0, from torch's own generator.
    """

    def __init__(self, config: PretrainedConfig, labels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(int(config.hidden_size), int(config.hidden_size))
        self.out = nn.Linear(int(config.hidden_size), labels)
        self.dropout = nn.Dropout(_dropout(config))
        for layer in (self.dense, self.out):
            nn.init.normal_(layer.weight, std=float(getattr(config, "initializer_range", _USUAL_RANGE)))
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Label logits [B, L] from the last hidden states [B, S, H]."""
        first = self.dropout(hidden[:, 0])  # [B, H]
        logits: Tensor = self.out(self.dropout(torch.tanh(self.dense(first))))
        return logits


def first_token_classifier(encoder: nn.Module, head: ClassificationHead) -> Callable[[Padded], Tensor]:
    """Label logits [B, L] of a batch."""

    def classify(batch: Padded) -> Tensor:
        output = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        logits: Tensor = head(output.last_hidden_state)
        return logits

    return classify


def trainable_copy(module: _Module) -> _Module:
    """A copy that shares no memory, with every parameter open to training."""
    copy = deepcopy(module)
    copy.requires_grad_(True)  # noqa: FBT003 (torch's signature)
    return copy


def trained_bytes(*modules: nn.Module) -> int:
    """What the trained parameters take on disk, tied ones once."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


@contextmanager
def reproducible(backbone: Backbone, seed: int) -> Iterator[None]:
    """Seed torch for a block and give back its generators as they were.

    Raises:
        BackboneError: The resident backbone carries somebody's adapters.
    """
    AdapterSlots(backbone.model).close()  # claims and gives back
    with torch.random.fork_rng([backbone.device] if backbone.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def optimise(
    modules: Sequence[nn.Module],
    loss_of: Callable[[list[int]], Tensor],
    rows: int,
    choices: Optimisation,
    seed: int,
) -> int:
    """Train every parameter that asks for it, in training mode; evaluation mode afterwards.

    Args:
        modules: What is trained.
        loss_of: Mean loss of a batch, given as positions of rows.
        rows: How many rows there are.
        choices: How.
        seed: Of the order of rows.

    Returns:
        The number of steps.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    steps = choices.steps_for(rows)
    # fused: 13 ms a step instead of 87 for minilm's 22 million parameters on one core
    optimizer = AdamW(_groups(parameters, choices.weight_decay), lr=choices.lr, fused=True)
    scheduler = linear_schedule(optimizer, steps, choices.warmup)
    for module in modules:
        module.train()
    for batch in batches([1] * rows, choices.batch_size, steps, seed, "shuffled"):
        loss_of(batch).backward()
        nn.utils.clip_grad_norm_(parameters, choices.clip_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
    for module in modules:
        module.eval()
    return steps


def _groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Biases and norms, which are vectors, do not decay."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _dropout(config: PretrainedConfig) -> float:
    stated = (getattr(config, name, None) for name in _DROPOUT_FIELDS)
    return next((float(value) for value in stated if isinstance(value, int | float)), _USUAL_DROPOUT)
