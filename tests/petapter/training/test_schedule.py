import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_linear_schedule_with_warmup

from petapter.training.schedule import linear_schedule


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-5)


def rates(schedule: LRScheduler, steps: int) -> list[float]:
    seen: list[float] = []
    for _ in range(steps):
        seen.append(float(schedule.get_last_lr()[0]))
        schedule.optimizer.step()
        schedule.step()
    return [*seen, float(schedule.get_last_lr()[0])]


@pytest.mark.parametrize("steps", [1, 2, 150, 1500])
def test_without_warmup_the_rates_are_those_of_transformers(steps: int) -> None:
    reference = rates(get_linear_schedule_with_warmup(optimizer(), 0, steps), steps)
    assert rates(linear_schedule(optimizer(), steps, 0.0), steps) == reference


def test_without_warmup_the_first_step_has_the_whole_rate_and_the_last_the_smallest() -> None:
    seen = rates(linear_schedule(optimizer(), 150, 0.0), 150)
    assert seen[0] == 5e-5
    assert seen[149] == pytest.approx(5e-5 / 150)
    assert seen[150] == 0.0


def test_with_warmup_the_rates_rise_to_the_peak_and_fall_to_zero() -> None:
    seen = rates(linear_schedule(optimizer(), 10, 0.4), 10)
    factors = [1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]  # by hand: 4 steps up, 6 down
    assert seen == pytest.approx([5e-5 * factor for factor in factors])


def test_short_warmup_is_still_a_step() -> None:
    assert rates(linear_schedule(optimizer(), 5, 0.01), 5)[:2] == pytest.approx([5e-5, 5e-5])
