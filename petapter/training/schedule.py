"""How the learning rates rise and fall: linearly up over the warm-up, if there is one, then linearly down to 0."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def linear_schedule(optimizer: Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Scale every group's learning rate from step to step.

    Without warm-up these are the factors of transformers' `get_linear_schedule_with_warmup`: of T steps the k-th, from
    0, has (T - k) / T. With one, the first step has 1 / W and not 0, so that no step is for nothing.

    Args:
        optimizer: Its groups hold the peaks.
        steps: Of the whole run, T.
        warmup: Share of the steps in which the rates rise; at least one step, W, unless it is 0.
    """
    return LambdaLR(optimizer, lambda step: linear_factor(step, steps, warmup))


def linear_factor(step: int, steps: int, warmup: float) -> float:
    """What `linear_schedule` scales a step's learning rates by; steps are counted from 0."""
    rising = max(1, round(warmup * steps)) if warmup else 0
    down = (steps - step) / max(1, steps - rising)
    return min((step + 1) / rising, down) if rising else down
