"""The update of many modules is torch's AdamW of each, with its own rate and clipping."""

import torch
from torch import Tensor, nn

from petapter.joint.optimizer import Weights, update

SHAPES = ((3, 4), (7,))


def tensors(seed: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=draw) for shape in SHAPES]


def weights(seed: int, peaks: list[float], clip_norm: float) -> Weights:
    return Weights([nn.Parameter(tensor) for tensor in tensors(seed)], peaks, clip_norm)


def give_gradients(module: Weights, seed: int) -> None:
    for tensor, gradient in zip(module.tensors, tensors(seed), strict=True):
        tensor.grad = gradient


def test_each_module_moves_as_torch_moves_it_alone() -> None:
    settings = [([0.1, 0.01], 1.0), ([0.003, 0.2], 0.05), ([0.5, 0.5], 1e9)]
    modules = [weights(seed, peaks, clip) for seed, (peaks, clip) in enumerate(settings)]
    expected = [[nn.Parameter(tensor) for tensor in tensors(seed)] for seed in range(len(settings))]
    optimizers = [
        torch.optim.AdamW(
            [{"params": [each], "lr": peak} for each, peak in zip(own, peaks, strict=True)], weight_decay=0.0
        )
        for own, (peaks, _) in zip(expected, settings, strict=True)
    ]
    for step in range(5):
        factors = [1.0, 0.5, 1 / (step + 1)]
        for number, module in enumerate(modules):
            give_gradients(module, 100 * step + number)
            for each, gradient in zip(expected[number], tensors(100 * step + number), strict=True):
                each.grad = gradient
            nn.utils.clip_grad_norm_(expected[number], settings[number][1])
            for group, peak in zip(optimizers[number].param_groups, settings[number][0], strict=True):
                group["lr"] = peak * factors[number]
            optimizers[number].step()
        update(modules, factors)
    for module, own in zip(modules, expected, strict=True):
        for found, each in zip(module.tensors, own, strict=True):
            torch.testing.assert_close(found.detach(), each.detach(), rtol=1e-6, atol=1e-7)


def test_gradients_are_cleared_and_weights_without_one_stay() -> None:
    module = weights(0, [0.1, 0.1], 1.0)
    module.tensors[0].grad = torch.ones(SHAPES[0])
    update([module], [1.0])
    assert all(tensor.grad is None for tensor in module.tensors)
    assert not torch.equal(module.tensors[0].detach(), tensors(0)[0])
    assert torch.equal(module.tensors[1].detach(), tensors(0)[1])
    assert module.steps == 1


def test_a_step_without_any_gradient_counts() -> None:
    module = weights(0, [0.1, 0.1], 1.0)
    update([module], [1.0])
    assert module.steps == 1
    assert torch.equal(module.tensors[0].detach(), tensors(0)[0])
