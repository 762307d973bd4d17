"""What a training step minimises: weighted cross-entropy over the labels, or where a row may have several, of each."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from petapter.evaluation.label_sets import gold_labels
from petapter.task import Example
from petapter_schemas.task import TaskSpec

Loss = Callable[[Tensor, Sequence[int]], Tensor]
"""The mean loss of a batch from its label logits [B, L] and the rows that are in it."""


def objective(
    task: TaskSpec,
    examples: Sequence[Example],
    label_smoothing: float,
    device: torch.device,
    soft: Tensor | None = None,
) -> Loss:
    """The loss of a task's rows, each counted by its weight over the mean weight of all rows.

    Single-label: cross-entropy over the labels. Multi-label: binary cross-entropy of every label's logit on its own,
    averaged over the labels; smoothing then moves each target towards one half.

    Args:
        task: Its type and labels.
        examples: The rows; of soft targets their weights alone count.
        label_smoothing: Share of the target that goes to all labels alike.
        device: Where the logits are.
        soft: Probabilities [N, L] to learn instead of the rows' own labels.
    """
    weights = torch.tensor([example.weight for example in examples], dtype=torch.float64)
    shares = (weights / weights.mean()).float().to(device)
    if soft is not None and soft.shape != (len(examples), len(task.labels)):
        raise ValueError(f"soft targets of shape {tuple(soft.shape)} for {len(examples)} rows")
    if task.type == "single-label" and soft is not None:
        return _shares_of_them(soft.float().to(device), shares, label_smoothing)
    if task.type == "single-label":
        index = {name: position for position, name in enumerate(task.label_names)}
        chosen = torch.tensor([index[name] for example in examples for name in example.label_names], device=device)
        return _one_of_them(chosen, shares, label_smoothing)
    has = torch.from_numpy(gold_labels(task, examples)) if soft is None else soft
    return _each_of_them(has.float().to(device), shares, label_smoothing)


def _one_of_them(chosen: Tensor, shares: Tensor, label_smoothing: float) -> Loss:
    """Args: chosen: int64 [N]; shares: [N], of mean 1."""

    def loss(logits: Tensor, rows: Sequence[int]) -> Tensor:
        batch = list(rows)
        each = cross_entropy(logits, chosen[batch], reduction="none", label_smoothing=label_smoothing)  # [B]
        return (each * shares[batch]).mean()

    return loss


def _shares_of_them(soft: Tensor, shares: Tensor, label_smoothing: float) -> Loss:
    """Args: soft: float32 [N, L], rows add up to 1; shares: [N], of mean 1."""

    def loss(logits: Tensor, rows: Sequence[int]) -> Tensor:
        batch = list(rows)
        each = cross_entropy(logits, soft[batch], reduction="none", label_smoothing=label_smoothing)  # [B]
        return (each * shares[batch]).mean()

    return loss


def _each_of_them(has: Tensor, shares: Tensor, label_smoothing: float) -> Loss:
    """Args: has: float32 [N, L], 1 where a row has a label, or the probability that it does; shares: [N], of mean 1."""
    targets = has * (1 - label_smoothing) + label_smoothing / 2

    def loss(logits: Tensor, rows: Sequence[int]) -> Tensor:
        batch = list(rows)
        each = binary_cross_entropy_with_logits(logits, targets[batch], reduction="none")  # [B, L]
        return (each.mean(dim=-1) * shares[batch]).mean()

    return loss
