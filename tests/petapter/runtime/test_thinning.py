"""What a module drops is its own, and as much as it is told to drop."""

import pytest
import torch

from petapter.runtime.thinning import Thinning


def generators(*seeds: int) -> tuple[torch.Generator, ...]:
    return tuple(torch.Generator().manual_seed(seed) for seed in seeds)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_is_kept(rate: float) -> None:
    thinned = Thinning(generators(0), (1,), (2000,)).hidden(torch.ones(1, 2000, 100), rate)
    assert float((thinned == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert float(thinned.mean()) == pytest.approx(1.0, abs=0.02)


def test_a_module_drops_among_others_what_it_drops_alone() -> None:
    states = torch.randn(1, 9, 8)
    together = Thinning(generators(1, 2), (1, 2), (4, 2, 3)).hidden(states, 0.3)
    first = Thinning(generators(1), (1,), (4,)).hidden(states[:, :4], 0.3)
    second = Thinning(generators(2), (2,), (2, 3)).hidden(states[:, 4:], 0.3)
    assert torch.equal(together, torch.cat([first, second], dim=1))


def test_attention_of_a_module_is_dropped_among_others_as_alone() -> None:
    like = torch.zeros(1)
    together = Thinning(generators(1, 2), (1, 2), (4, 2, 3)).attention(2, (4, 2, 3), 0.3, like)
    alone = Thinning(generators(2), (2,), (2, 3)).attention(2, (2, 3), 0.3, like)
    assert [tuple(each.shape) for each in together] == [(2, 4, 4), (2, 2, 2), (2, 3, 3)]
    assert all(torch.equal(here, there) for here, there in zip(together[1:], alone, strict=True))


def test_draws_go_on_where_the_last_ended() -> None:
    thinning = Thinning(generators(5), (1,), (50,))
    states = torch.ones(1, 50, 16)
    assert not torch.equal(thinning.hidden(states, 0.5), thinning.hidden(states, 0.5))


def test_what_is_dropped_gets_no_gradient() -> None:
    states = torch.ones(1, 6, 4, requires_grad=True)
    thinned = Thinning(generators(3), (2,), (2, 4)).hidden(states, 0.5)
    thinned.sum().backward()
    assert states.grad is not None
    assert torch.equal(states.grad == 0, thinned.detach() == 0)
