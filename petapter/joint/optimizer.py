"""AdamW for many modules at once: one call for the weights of all, with each module's own rate, step and clipping.

Loshchilov and Hutter 2019 (arXiv 1711.05101), without weight decay, as `torch.optim.AdamW` computes it. It works on
each number by itself, so that a module's weights do not depend on which others are in the call. torch's own optimiser
has one learning rate per group of weights and goes through the groups one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPS = 1e-8
"""torch's defaults."""
_LEAST_NORM = 1e-6
"""What `torch.nn.utils.clip_grad_norm_` adds to a norm before it divides by it."""


@dataclass
class Weights:
    """What of a module trains.

    Attributes:
        tensors: The weights.
        peaks: Their peak learning rates.
        clip_norm: Largest norm of the module's whole gradient.
        steps: Steps taken.
        first: Means of their gradients.
        second: Means of the squares.
    """

    tensors: list[Tensor]
    peaks: list[float]
    clip_norm: float
    steps: int = 0
    first: list[Tensor] = field(init=False)
    second: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.first = [torch.zeros_like(tensor, requires_grad=False) for tensor in self.tensors]
        self.second = [torch.zeros_like(tensor, requires_grad=False) for tensor in self.tensors]

    @property
    def nbytes(self) -> int:
        """Of the weights, their gradients and means, and of the row in which an adapter's weights run."""
        return 5 * sum(tensor.nbytes for tensor in self.tensors)


@torch.no_grad()
def update(modules: Sequence[Weights], factors: Sequence[float]) -> None:
    """Take a step with each module along its gradients, clipped, and clear these; weights without one stay.

    Args:
        modules: What trains.
        factors: By module, what the peak learning rates are multiplied by in this step.
    """
    for module in modules:
        module.steps += 1
    chosen = [
        (module, factor, number)
        for module, factor in zip(modules, factors, strict=True)
        for number, tensor in enumerate(module.tensors)
        if tensor.grad is not None
    ]
    if not chosen:
        return
    tensors = [module.tensors[number] for module, _, number in chosen]
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    _clip([module for module, _, _ in chosen], gradients)
    first = [module.first[number] for module, _, number in chosen]
    second = [module.second[number] for module, _, number in chosen]
    torch._foreach_lerp_(first, gradients, 1 - _BETAS[0])
    torch._foreach_mul_(second, _BETAS[1])
    torch._foreach_addcmul_(second, gradients, gradients, 1 - _BETAS[1])
    sizes = torch._foreach_sqrt(second)  # noqa: SLF001
    torch._foreach_div_(sizes, [(1 - _BETAS[1] ** module.steps) ** 0.5 for module, _, _ in chosen])
    torch._foreach_add_(sizes, _EPS)
    rates = [-module.peaks[number] * factor / (1 - _BETAS[0] ** module.steps) for module, factor, number in chosen]
    torch._foreach_addcdiv_(tensors, first, sizes, rates)
    for tensor in tensors:
        tensor.grad = None


def _clip(owners: Sequence[Weights], gradients: Sequence[Tensor]) -> None:
    """Scale the gradients of each module to its largest norm, if theirs is larger; nothing waits for the device."""
    norms = torch._foreach_norm(list(gradients))  # noqa: SLF001
    by_owner: dict[int, list[int]] = {}
    for number, owner in enumerate(owners):
        by_owner.setdefault(id(owner), []).append(number)
    scales: list[Tensor] = [norms[0]] * len(gradients)
    for numbers in by_owner.values():
        whole = torch.linalg.vector_norm(torch.stack([norms[number] for number in numbers]))
        scale = (owners[numbers[0]].clip_norm / (whole + _LEAST_NORM)).clamp(max=1.0)
        for number in numbers:
            scales[number] = scale
    torch._foreach_mul_(list(gradients), scales)
